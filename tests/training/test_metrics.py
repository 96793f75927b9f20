"""The log: means over steps, and lines that a resumed run does not repeat."""

import json
import time

import numpy as np
import pytest

from dit_jax.training.metrics import JsonLines, clock, summarise
from dit_jax.training.throughput import Dispatching, Waiting, shares


def test_bucketed_losses_are_means_over_examples_of_all_steps():
    metrics = [
        {
            "loss": np.float32(loss),
            "grad_norm": np.float32(1),
            "learning_rate": np.float32(rate),
            "bucket": np.array([[total, count], [0, 0]], np.float32),
        }
        for loss, rate, total, count in [(1.0, 0.1, 6.0, 3.0), (3.0, 0.2, 4.0, 1.0)]
    ]
    found = summarise(metrics)
    assert found["loss"] == 2.0
    assert found["learning_rate"] == pytest.approx(0.2)
    assert found["loss_t_0.00_0.50"] == 2.5
    assert "loss_t_0.50_1.00" not in found


def test_a_resumed_log_drops_lines_after_its_first_step(tmp_path):
    file = tmp_path / "metrics.jsonl"
    lines = JsonLines(file, 0, is_writer=True)
    for step in range(1, 5):
        lines.write({"step": step, "loss": float(step)})
    with open(file, "a") as cut:
        cut.write('{"step": 5, "lo')  # killed while it wrote
    lines = JsonLines(file, 2, is_writer=True)
    lines.write({"step": 3, "loss": 30.0})
    entries = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(e["step"], e["loss"]) for e in entries] == [(1, 1.0), (2, 2.0), (3, 30.0)]


def test_only_the_first_process_writes(tmp_path):
    JsonLines(tmp_path / "m.jsonl", 0, is_writer=False).write({"step": 1})
    assert not (tmp_path / "m.jsonl").exists()


def test_waiting_passes_everything_on_and_counts_time():
    waiting = Waiting(iter([1, 2]))
    assert list(waiting) == [1, 2]
    assert waiting.seconds > 0


def test_dispatching_hands_on_arguments_and_counts_the_time_of_the_call():
    def step(state, batch):
        time.sleep(0.02)
        return state + batch, {"loss": batch}

    dispatching = Dispatching(step, first_step=7)
    assert dispatching(1, batch=2) == (3, {"loss": 2})
    assert dispatching(3, batch=4) == (7, {"loss": 4})
    assert 0.04 <= dispatching.seconds < 1
    assert dispatching.step == 9


def test_shares_of_the_time_are_of_what_they_say_and_sum_to_one():
    found = shares(8.0, wait=2.0, dispatch=1.0)
    wanted = {"data_wait_share": 1 / 4, "dispatch_share": 1 / 8, "compute_share": 5 / 8}
    assert found == wanted


@pytest.mark.parametrize(("s", "text"), [(5, "0:05"), (65, "1:05"), (3661, "1:01:01")])
def test_clock(s, text):
    assert clock(s) == text
