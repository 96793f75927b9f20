"""A model that is told first frames trains on a dataset and goes on from its clips."""

import numpy as np
import pytest

from dit_jax import codecs
from dit_jax.codecs.pixels import to_uint8
from dit_jax.data.reader import Reader
from tests.programs.harness import run, train_flags

pytestmark = pytest.mark.slow  # programs, in their own processes

FEW = {"train__num_steps": 2, "optimizer__warmup_steps": 1, "model__width": 16}
GIVEN = {"model__frames": "concat", "train__given_frames": 1}


@pytest.fixture(scope="module")
def workdir(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("given") / "run"
    done = run(["train", *train_flags(dataset, folder, **GIVEN, **FEW)])
    assert done.returncode == 0, done.stderr
    return folder


def sample(workdir, output, *flags):
    command = ["sample", f"--workdir={workdir}", f"--output={output}", "--steps=2"]
    return run([*command, "--num=2", *flags])


def test_clips_go_on_from_those_of_validation(workdir, dataset, tmp_path):
    done = sample(workdir, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "going on from 1 latent frames" in done.stdout
    assert (tmp_path / "sheet.png").exists()
    made = np.load(tmp_path / "samples.npz")["videos"]
    reader = Reader(dataset, "validation")
    codec = codecs.load(f"{dataset}/codec")
    for video, index in zip(made, [0, len(reader) // 2], strict=True):
        raw = reader[index]["latents"][None, :1].astype(np.float32)
        beginning = np.asarray(to_uint8(codec.decode(raw)))[0]
        off = video[: len(beginning)].astype(int) - beginning.astype(int)
        assert np.abs(off).max() <= 1
        assert len(video) == 2 * len(beginning)


MISTAKES = {
    "labels": (["--labels=0"], "go on from those of the data"),
    "whole clips": (["--given_frames=2"], "give 1 to 1 latent frames"),
}


@pytest.mark.parametrize(("flags", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_sentence(workdir, tmp_path, flags, words):
    done = sample(workdir, tmp_path / "out", *flags)
    assert done.returncode == 64 and words in done.stderr
    assert done.stderr.count("\n") == 1 and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"train__given_frames": 1},
            "train.given_frames is 1 and model.frames is none",
        ),
        (GIVEN | {"train__given_frames": 2}, "below the clip's 2"),
        ({"model__frames": "pooled"}, "train.given_frames is 0 and model.frames"),
    ],
)
def test_training_wants_both_or_neither(dataset, tmp_path, values, words):
    done = run(["train", *train_flags(dataset, tmp_path / "run", **FEW, **values)])
    assert done.returncode == 64 and words in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_run_that_is_told_no_frames_refuses_them(trained, tmp_path):
    done = sample(trained, tmp_path / "out", "--given_frames=1")
    assert done.returncode == 64 and "is told no frames" in done.stderr
