"""A training that is profiled: traces of every process, and where its time went."""

import gzip
import json
import math
import sys

import pytest

from tests.programs.harness import run, train_flags
from tests.programs.test_resume import log

FEW = {"train__num_steps": 6, "checkpoint__every_steps": 6}


def steps_of(folder):
    """The steps that a trace has a mark of."""
    (trace,) = folder.rglob("perfetto_trace.json.gz")
    (xplane,) = folder.rglob("*.xplane.pb")
    assert xplane.stat().st_size > 0
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    return sorted(
        int(event["args"]["step_num"])
        for event in events
        if event.get("name") == "train"
    )


@pytest.mark.slow
def test_a_trace_has_the_steps_that_were_asked_for(dataset, tmp_path):
    folder = tmp_path / "run"
    done = run(["train", *train_flags(dataset, folder, **FEW), "--profile=2:4"])
    assert done.returncode == 0, done.stderr
    assert f"wrote {folder}/profile/process_0" in done.stdout
    assert steps_of(folder / "profile") == [3, 4]
    first, *rest = log(folder).values()
    assert "dispatch_share" not in first  # it is the compilation
    for entry in rest:
        parts = [
            entry[f"{name}_share"] for name in ("data_wait", "dispatch", "compute")
        ]
        assert math.isclose(sum(parts), 1, abs_tol=1e-9)
        assert all(0 <= part <= 1 for part in parts)
        assert entry["dispatch_share"] > 0


@pytest.mark.slow
def test_every_process_writes_its_own_trace(dataset, tmp_path):
    folder = tmp_path / "run"
    flags = [*train_flags(dataset, folder, **FEW), "--profile=0:2"]
    launcher = ["launch/local.py", "--num_processes=2", "--", sys.executable, "-m"]
    done = run([*launcher, "dit_jax.train", *flags])
    assert done.returncode == 0, done.stdout
    for index in range(2):
        assert steps_of(folder / "profile" / f"process_{index}") == [1, 2]


def test_a_profile_beyond_the_run_is_refused_before_anything_is_written(
    dataset, tmp_path
):
    folder = tmp_path / "run"
    done = run(["train", *train_flags(dataset, folder, **FEW), "--profile=5:9"])
    assert done.returncode == 64
    assert "--profile=5:9 is not within the steps 0 to 6" in done.stderr
    assert not (folder / "config.json").exists()
