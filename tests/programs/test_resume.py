"""A run that is killed and goes on is the run that was not; so is one of two hosts."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from dit_jax.checkpoints import Checkpoints
from tests.programs.harness import ROOT, environment, run, train_flags


def log(folder: Path) -> dict[int, dict]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return {entry["step"]: entry for entry in map(json.loads, lines)}


def numbers(folder: Path) -> dict[int, tuple]:
    """What must be equal bit for bit: losses, gradients, validation of the EMA."""
    return {
        step: (entry["loss"], entry["grad_norm"], entry.get("validation_loss"))
        for step, entry in log(folder).items()
    }


def start_and_stop(command: list, step: int, folder: Path, number: int) -> int:
    """Starts a training and sends it a signal once checkpoint `step` is there."""
    process = subprocess.Popen(
        [sys.executable, "-m", *map(str, command)],
        env=environment(1),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 240
    while not (folder / "checkpoints" / str(step)).exists():
        assert process.poll() is None, "ended before it was stopped"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, number)
    return process.wait(timeout=120)


@pytest.mark.slow
def test_kill_and_resume_equals_the_uninterrupted_run_bit_for_bit(
    dataset, trained, tmp_path
):
    folder = tmp_path / "killed"
    flags = train_flags(dataset, folder)
    code = start_and_stop(["dit_jax.train", *flags], 20, folder, signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert 40 not in log(folder)
    done = run(["train", f"--workdir={folder}"])
    assert done.returncode == 0, done.stderr
    assert "going on from step" in done.stdout
    assert numbers(folder) == numbers(trained)
    for item in ("params", "ema", "opt_state"):
        assert_equal_item(folder, trained, item)


def assert_equal_item(a: Path, b: Path, item: str) -> None:
    """One item of checkpoint 40, as it is stored, in both runs."""
    args = ocp.args.Composite(**{item: ocp.args.StandardRestore()})
    one, two = (Checkpoints(f).manager.restore(40, args=args)[item] for f in (a, b))
    jax.tree.map(np.testing.assert_array_equal, one, two)
    assert max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(one)) > 0


@pytest.mark.slow
def test_sigterm_saves_and_exits_75_then_goes_on(dataset, trained, tmp_path):
    folder = tmp_path / "stopped"
    flags = train_flags(dataset, folder, checkpoint__every_steps=4)
    code = start_and_stop(["dit_jax.train", *flags], 4, folder, signal.SIGTERM)
    assert code == 75
    done = run(["train", f"--workdir={folder}"])
    assert done.returncode == 0, done.stderr
    assert numbers(folder) == numbers(trained)


@pytest.mark.slow
def test_another_seed_is_another_run(dataset, trained, tmp_path):
    folder = tmp_path / "seed1"
    flags = [*train_flags(dataset, folder, train__num_steps=6), "--seed=1"]
    done = run(["train", *flags])
    assert done.returncode == 0, done.stderr
    assert log(folder)[6]["loss"] != log(trained)[6]["loss"]


@pytest.mark.slow
def test_two_processes_train_as_one(dataset, trained, tmp_path):
    folder = tmp_path / "two"
    done = run(
        [
            "launch/local.py",
            "--num_processes=2",
            "--",
            sys.executable,
            "-m",
            "dit_jax.train",
            *train_flags(dataset, folder, train__num_steps=20),
        ]
    )
    assert done.returncode == 0, done.stdout
    two, one = numbers(folder), numbers(trained)
    for step in range(1, 21):
        np.testing.assert_allclose(two[step][0], one[step][0], rtol=1e-6)
