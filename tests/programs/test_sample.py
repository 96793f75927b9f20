"""A run folder to videos, and to another run, as users do it."""

import json
import os

import numpy as np
import pytest

from dit_jax.data.video import read_video
from tests.programs.harness import overrides, run, train_flags


def sample(trained, output, *flags, num_devices=1):
    done = run(
        ["sample", f"--workdir={trained}", f"--output={output}", "--steps=3", *flags],
        num_devices=num_devices,
    )
    assert done.returncode == 0, done.stderr
    return np.load(output / "samples.npz")


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    return tmp_path_factory.mktemp("samples")


def test_clips_sheet_and_exact_pixels_are_written(trained, output):
    made = sample(trained, output / "a", "--num=3", "--labels=0,1", "--guidance=2")
    assert made["videos"].shape == (3, 8, 32, 32, 3)
    assert made["labels"].tolist() == [0, 1, 0]
    assert made["videos"].std() > 1
    files = sorted(os.listdir(output / "a"))
    mp4 = [name for name in files if name.endswith(".mp4")]
    assert mp4 == ["000_class0.mp4", "001_class1.mp4", "002_class0.mp4"]
    assert {"sheet.png", "samples.json", "samples.npz"} <= set(files)
    shown, fps = read_video(output / "a" / mp4[0])
    assert fps == 24
    error = np.abs(shown.astype(int) - made["videos"][0].astype(int)).mean()
    assert error < 8  # lossy, but the same clip


def test_one_seed_is_one_video_on_one_and_two_devices(trained, output):
    flags = ["--num=4", "--labels=square,1", "--nomp4"]
    one = sample(trained, output / "one", *flags)["videos"].astype(int)
    two = sample(trained, output / "two", *flags, num_devices=2)["videos"].astype(int)
    assert np.abs(one - two).max() <= 1
    other = sample(trained, output / "other", *flags, "--seed=5")["videos"].astype(int)
    assert np.abs(one - other).max() > 1


def test_another_run_starts_from_its_weights(dataset, trained, tmp_path):
    folder = tmp_path / "tuned"
    flags = train_flags(dataset, folder, train__num_steps=5, train__init_from=trained)
    done = run(["train", *flags])
    assert done.returncode == 0, done.stderr
    assert f"starting from {trained}" in done.stdout
    first, fresh = (
        json.loads((path / "metrics.jsonl").read_text().splitlines()[0])["loss"]
        for path in (folder, trained)
    )
    assert first < fresh - 0.1  # the same examples and noise, better weights


def test_an_unlabelled_dataset_without_validation_goes_all_the_way(videos, tmp_path):
    small = {
        "prepare.sources": videos,
        "prepare.num_frames": 8,
        "prepare.height": 32,
        "prepare.width": 32,
        "prepare.validation": 0.0,
        "prepare.label": "none",
        "codec.channels": 16,
        "codec.symmetric": True,
    }
    data, folder = tmp_path / "data", tmp_path / "run"
    flags = ["--config=configs/common.py", f"--output={data}", *overrides(small)]
    done = run(["prepare", *flags])
    assert done.returncode == 0, done.stderr
    changes = {"train__num_steps": 6, "data__flip": True, "train__microbatches": 2}
    done = run(["train", *train_flags(data, folder, **changes)])
    assert done.returncode == 0, done.stderr
    assert "no validation examples" in done.stdout
    assert sample(folder, tmp_path / "out", "--num=2")["videos"].shape[0] == 2


def test_sampler_grid_and_cache_are_flags(trained, output):
    flags = ["--num=2", "--nomp4", "--steps=6", "--sampler=dpmpp_2m", "--grid=karras"]
    plain = sample(trained, output / "plain", *flags)["videos"].astype(int)
    cache = "mag:threshold=1e9,longest=2,kept=0.4"
    cached = sample(trained, output / "cached", *flags, f"--cache={cache}")
    assert np.any(cached["videos"] != plain)
    facts = json.loads((output / "cached" / "samples.json").read_text())
    assert (facts["sampler"], facts["grid"]) == ("dpmpp_2m", "karras")
    assert (facts["cache"], facts["saving"]["calls"]) == (cache, 6)
    assert facts["saving"]["ran"] == 3
    stored = json.loads((trained / "caching.json").read_text())["curves"]
    assert [list(entry["savings"]) for entry in stored] == [[cache]]
