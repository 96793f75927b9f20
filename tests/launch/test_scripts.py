"""The scripts of launch/ on a cluster of stand-ins, which lie in `cluster/`."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
LAUNCH = HERE.parents[1] / "launch"
ENVIRONMENT = os.environ | {
    "PATH": f"{HERE / 'cluster'}:{os.environ['PATH']}",
    "SLURM_JOB_ID": "4711",
    "SLURM_TASKS": "2",
    "http_proxy": "http://nowhere:1",
    "TPU": "my-v5p-64",
    "ZONE": "us-east5-a",
}


def launch(script, *words):
    return subprocess.run(
        ["bash", LAUNCH / script, *words],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=60,
    )


def test_slurm_runs_the_command_as_every_task_and_without_proxies():
    command = 'echo "$SLURM_PROCID of $SLURM_STEP_NUM_TASKS [${http_proxy-none}]" "$1"'
    done = launch("slurm.sh", "sh", "-c", command, "sh", "two words")
    assert done.returncode == 0
    lines = sorted(done.stdout.splitlines())
    assert lines == [f"{i} of 2 [none] two words" for i in range(2)]


@pytest.mark.parametrize("code", [0, 64, 75])
def test_slurm_requeues_a_run_that_was_preempted_and_no_other(code):
    done = launch("slurm.sh", "sh", "-c", f"exit {code}")
    assert done.returncode == code
    requeued = "scontrol requeue 4711\n" if code == 75 else ""
    assert done.stdout == requeued


def test_a_tpu_slice_runs_the_command_on_all_workers_word_by_word():
    words = ["python", "-m", "dit_jax.train", "--workdir=gs://b/a run", "--x='y'"]
    done = launch("tpu_vm.sh", *words)
    assert done.returncode == 0, done.stderr
    *given, command = done.stdout.splitlines()
    wanted = ["compute", "tpus", "tpu-vm", "ssh", "my-v5p-64", "--zone", "us-east5-a"]
    assert given == [*wanted, "--worker=all", "--command"]
    place, activate, start = command.split(" && ")
    assert (place, activate) == ("cd ~/dit_jax", ". .venv/bin/activate")
    assert shlex.split(start) == ["exec", *words]


@pytest.mark.parametrize("script", ["slurm.sh", "tpu_vm.sh"])
def test_no_command_is_a_bad_flag(script):
    done = launch(script)
    assert done.returncode == 64
    assert "usage" in done.stderr
