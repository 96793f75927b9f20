"""Captions beside videos become clips of what is written, as users do it."""

import json
import os

import numpy as np
import pytest

from tests.programs.harness import PREPARE, overrides, run, train_flags

pytestmark = pytest.mark.slow  # programs, in their own processes

TEXT = {"model__text": "cross_attention", "model__text_length": 8}
FEW = {"train__num_steps": 2, "optimizer__warmup_steps": 1, "model__width": 16}


@pytest.fixture(scope="module")
def told(videos, tmp_path_factory):
    """A run folder, trained on a dataset with text, by the programs."""
    home = tmp_path_factory.mktemp("told")
    for name, caption in {"stripes": "stripes move", "square": "a square"}.items():
        os.link(videos / f"{name}.mp4", home / f"{name}.mp4")
        (home / f"{name}.txt").write_text(caption)
    values = PREPARE | {"prepare.text": "minilm", "prepare.text_length": 8}
    flags = [f"--config.prepare.sources={home}", *overrides(values)]
    data, workdir = home / "data", home / "run"
    done = run(["prepare", "--config=configs/common.py", f"--output={data}", *flags])
    assert done.returncode == 0, done.stderr
    done = run(["train", *train_flags(data, workdir, **TEXT, **FEW)])
    assert done.returncode == 0, done.stderr
    return workdir


def sample(workdir, output, *flags):
    command = ["sample", f"--workdir={workdir}", f"--output={output}", "--steps=2"]
    return run([*command, *flags])


def test_captions_in_texts_out(told, tmp_path):
    flags = ["--text=a square", "--text=", "--num=3", "--guidance=2"]
    done = sample(told, tmp_path, *flags)
    assert done.returncode == 0, done.stderr
    assert "3 clips of 2 texts" in done.stdout
    clips = [name for name in os.listdir(tmp_path) if name.endswith(".mp4")]
    assert sorted(clips) == ["000_a-square.mp4", "001_no-text.mp4", "002_a-square.mp4"]
    facts = json.loads((tmp_path / "samples.json").read_text())
    assert facts["texts"] == ["a square", "", "a square"]
    assert np.load(tmp_path / "samples.npz")["videos"].shape == (3, 8, 32, 32, 3)


MISTAKES = {
    "no text": ([], 64, "add --text 'what to show'"),
    "weights": (["--text=a", "--text_path=/none"], 64, "'/none' does not exist"),
}


@pytest.mark.parametrize("flags, code, words", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_sentence(told, tmp_path, flags, code, words):
    done = sample(told, tmp_path / "out", *flags)
    assert done.returncode == code and words in done.stderr
    assert done.stderr.count("\n") == 1 and not (tmp_path / "out").exists()


def test_a_dataset_without_text_is_refused_by_a_model_that_reads_it(dataset, tmp_path):
    done = run(["train", *train_flags(dataset, tmp_path / "run", **TEXT, **FEW)])
    assert done.returncode == 64
    assert "the dataset has no text; prepare it with prepare.text=minilm" in done.stderr


def test_a_run_without_text_refuses_it(trained, tmp_path):
    done = sample(trained, tmp_path / "out", "--text=a square")
    assert done.returncode == 64 and "reads no text" in done.stderr
