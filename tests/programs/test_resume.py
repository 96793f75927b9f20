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
def test_kill_and_resume_equals_the_uninterrupted_run_bit_for_bit(dataset, tmp_path):
    # Large enough that a kill at checkpoint 20 comes before step 40.
    slow = {"model__width": 192, "model__depth": 8, "model__num_heads": 4}
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    done = run(["train", *train_flags(dataset, whole, **slow)])
    assert done.returncode == 0, done.stderr
    flags = train_flags(dataset, folder, **slow)
    code = start_and_stop(["dit_jax.train", *flags], 20, folder, signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert 40 not in log(folder)
    done = run(["train", f"--workdir={folder}"])
    assert done.returncode == 0, done.stderr
    assert "going on from step" in done.stdout
    assert numbers(folder) == numbers(whole)
    assert len([v for *_, v in numbers(whole).values() if v is not None]) == 2
    for item in ("params", "ema", "opt_state"):
        assert_equal_item(folder, whole, item)


def assert_equal_item(a: Path, b: Path, item: str) -> None:
    """One item of checkpoint 40, as it is stored, in both runs."""
    args = ocp.args.Composite(**{item: ocp.args.StandardRestore()})
    one, two = (Checkpoints(f).manager.restore(40, args=args)[item] for f in (a, b))
    jax.tree.map(np.testing.assert_array_equal, one, two)
    assert max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(one)) > 0


@pytest.mark.slow
def test_sigterm_saves_and_exits_75_then_goes_on(dataset, tmp_path):
    folder = tmp_path / "stopped"
    flags = train_flags(dataset, folder, train__num_steps=4000)
    code = start_and_stop(["dit_jax.train", *flags], 20, folder, signal.SIGTERM)
    assert code == 75
    stopped = Checkpoints(folder).steps()[-1]
    assert list(log(folder))[-1] == stopped  # what was trained is saved
    more = f"--config.train.num_steps={stopped + 1}"
    done = run(["train", f"--workdir={folder}", more])
    assert done.returncode == 0, done.stderr
    assert Checkpoints(folder).steps()[-1] == stopped + 1


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
            *train_flags(dataset, folder),
        ]
    )
    assert done.returncode == 0, done.stdout
    two, one = numbers(folder), numbers(trained)
    for step in range(1, 21):
        np.testing.assert_allclose(two[step][0], one[step][0], rtol=1e-6)


@pytest.mark.slow
def test_two_processes_draw_the_same_examples_noise_and_times(dataset, tmp_path):
    script = ["tests/programs/draws.py", f"--config.data.path={dataset}"]
    one, two = tmp_path / "one.npz", tmp_path / "two.npz"
    done = run([*script, f"--output={one}"])
    assert done.returncode == 0, done.stderr
    joined = ["launch/local.py", "--num_processes=2", "--", sys.executable, *script]
    done = run([*joined, f"--output={two}"])
    assert done.returncode == 0, done.stdout
    a, b = (np.load(file) for file in (one, two))
    assert set(a) >= {"example_id", "x0", "eps", "t", "label"}
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
    assert len(np.unique(a["example_id"])) == a["example_id"].size


@pytest.mark.slow
def test_sigterm_to_one_of_two_processes_saves_on_both(dataset, tmp_path):
    folder = tmp_path / "preempted"
    flags = train_flags(dataset, folder, train__num_steps=4000)
    launcher = ["launch/local.py", "--num_processes=2", "--", sys.executable, "-m"]
    process = subprocess.Popen(
        [sys.executable, *launcher, "dit_jax.train", *map(str, flags)],
        env=environment(1),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 240
    while not (folder / "checkpoints" / "20").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 75, output
    steps = Checkpoints(folder).steps()
    assert f"stopped at step {steps[-1]} of 4000, saved" in output
