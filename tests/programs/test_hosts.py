"""Two real processes of four devices each train as one process of eight does."""

import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from tests.programs.harness import ROOT, environment, run, train_flags
from tests.programs.test_resume import log

FEW = {
    "train__num_steps": 8,
    "mesh__data": 2,
    "mesh__fsdp": 2,
    "mesh__context": 2,
    "mesh__devices": 8,
    "checkpoint__every_steps": 8,
    "validation__every_steps": 8,
}


@pytest.fixture(scope="module")
def of_one_process(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("one") / "run"
    done = run(["train", *train_flags(dataset, folder, **FEW)], num_devices=8)
    assert done.returncode == 0, done.stderr
    return folder


def assert_same_losses(folder, other):
    here, there = log(folder), log(other)
    assert list(here) == list(range(1, 9))
    for name in ("loss", "grad_norm"):
        ours, theirs = ([entry[name] for entry in e.values()] for e in (here, there))
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, err_msg=name)
    assert here[8]["validation_loss"] == pytest.approx(
        there[8]["validation_loss"], rel=1e-6
    )


@pytest.mark.slow
def test_two_processes_that_flags_join_train_as_one(dataset, of_one_process, tmp_path):
    command = [sys.executable, "-m", "dit_jax.train"]
    flags = train_flags(dataset, tmp_path / "run", **FEW)
    launcher = ["launch/local.py", "--num_processes=2", "--"]
    done = run([*launcher, *command, *flags], num_devices=4)
    assert done.returncode == 0, done.stdout
    assert_same_losses(tmp_path / "run", of_one_process)


def free_job() -> int:
    """The number of a job whose port for the coordinator is free."""
    for number in range(os.getpid() % 10000, 20000):
        with socket.socket() as server:
            if server.connect_ex(("127.0.0.1", 20000 + number % 10000)):
                return number
    raise AssertionError("no port is free")


@pytest.mark.slow
def test_two_tasks_of_slurm_join_by_themselves(dataset, of_one_process, tmp_path):
    folder = tmp_path / "run"
    flags = train_flags(dataset, folder, **FEW)
    slurm = {
        "PATH": f"{ROOT / 'tests/launch/cluster'}:{os.environ['PATH']}",
        "SLURM_JOB_ID": str(free_job()),
        "SLURM_TASKS": "2",
    }
    done = subprocess.run(
        ["bash", "launch/slurm.sh", sys.executable, "-m", "dit_jax.train"]
        + [str(flag) for flag in flags],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment(4) | slurm,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    for index in range(2):
        assert f"joined as process {index} of 2 (Slurm)" in done.stdout
    assert done.stdout.count(f"wrote {folder}") == 1  # by the first process alone
    assert_same_losses(folder, of_one_process)
