"""A small dataset and a small run, made once by the programs themselves."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dit_jax.data.video import write_video
from tests.programs.harness import (
    PREPARE,
    overrides,
    run,
    square,
    stripes,
    train_flags,
)


@pytest.fixture(scope="session")
def videos(tmp_path_factory) -> Path:
    """A folder of two small videos: stripes that move right, and a growing square."""
    folder = tmp_path_factory.mktemp("videos")
    for name, draw in {"stripes": stripes, "square": square}.items():
        write_video(folder / f"{name}.mp4", np.stack([draw(i) for i in range(48)]), 24)
    return folder


@pytest.fixture(scope="session")
def dataset(videos, tmp_path_factory) -> Path:
    """A finished latent dataset of those videos, with two classes."""
    folder = tmp_path_factory.mktemp("data") / "latents"
    done = run(
        [
            "prepare",
            "--config=configs/common.py",
            f"--output={folder}",
            f"--config.prepare.sources={videos}",
            *overrides(PREPARE),
        ]
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def trained(dataset, tmp_path_factory) -> Path:
    """A run folder with checkpoints 20 and 40."""
    folder = tmp_path_factory.mktemp("run") / "trained"
    done = run(["train", *train_flags(dataset, folder)])
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def full_disk(tmp_path) -> Iterator[Path]:
    """A mounted file system of 1 MB; needs root, as build machines have it."""
    folder = tmp_path / "full"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if (
        os.geteuid()
        or subprocess.run(mount, capture_output=True, check=False).returncode
    ):
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
