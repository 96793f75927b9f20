"""The program `plan`: what it prints, what it writes, and its exit codes."""

import json

import pytest

from tests.programs.harness import run

FITS, FAILS, INPUT = 0, 1, 64
SHAPE = "--config.plan.latent_shape=16,32,32,4"
CONFIG = "--config=configs/joint.py:xl/1x2x2"


def plan(*flags):
    return run(["plan", CONFIG, *flags])


def test_a_plan_that_fits_is_printed_and_written(tmp_path):
    file = tmp_path / "plan.json"
    done = plan(SHAPE, "--topology=v5e:4x4", f"--json={file}", "--samples=1000000")
    assert done.returncode == FITS, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "plan of joint-xl/1x2x2 on v5e:4x4: 16 devices, fsdp 16"
    assert any(line.startswith("fits: ") for line in lines)
    stored = json.loads(file.read_text())
    assert stored["fits"]
    assert stored["inputs"]["num_samples"] == 1_000_000


def test_a_plan_that_does_not_fit_exits_1_with_three_remedies():
    large = "--config.model.preset=joint-3b/1x2x2"
    done = plan(SHAPE, large, "--topology=v5e:2x2", "--config.train.batch_size=64")
    assert done.returncode == FAILS, done.stderr
    *_, verdict, remedies = done.stdout.splitlines()
    assert verdict.startswith("does not fit: ")
    assert verdict.endswith("GB too much")
    assert remedies.startswith("cheapest remedies: ")
    assert remedies.count("% step)") == 3


def test_a_search_prints_the_best_and_plans_the_first():
    done = plan(SHAPE, "--topology=2*v5e:4x4", "--search")
    assert done.returncode == FITS, done.stderr
    head, best, *_ = done.stdout.splitlines()
    assert "combinations of mesh and remat fit; the cheapest:" in head
    assert "(+0.0%)" in best


def test_published_runs_are_held_against_the_planner(tmp_path):
    done = run(["plan", "--validate", f"--json={tmp_path / 'runs.json'}"])
    assert done.returncode == 0, done.stderr
    assert "4 of 6 within 20% of the published step time" in done.stdout
    assert len(json.loads((tmp_path / "runs.json").read_text())["runs"]) == 6


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([SHAPE], "--topology is missing"),
        ([SHAPE, "--topology=v5x:4x4"], "unknown chip 'v5x'"),
        (["--topology=v5e:4x4"], "give --config.plan.latent_shape=T,H,W,C"),
        ([SHAPE, "--topology=v5e:4x3"], "data*fsdp = 12"),
        ([SHAPE, "--topology=v5e:4x4", "--validate"], "means nothing to this program"),
    ],
)
def test_mistakes_are_one_sentence(flags, words):
    done = plan(*flags)
    assert done.returncode == INPUT
    (said,) = [x for x in done.stderr.splitlines() if x.startswith("error: ")]
    assert words in said
    assert "Traceback" not in done.stderr
