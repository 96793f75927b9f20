"""Cuts: found where pictures change at once, and nowhere else."""

import numpy as np
import pytest

from dit_jax.data.sources import packaged, shots, videos


def _scene(seed, frames, speed=1):
    """A picture that pans to the right, with film grain."""
    rng = np.random.default_rng(seed)
    wide = np.kron(rng.integers(0, 256, (8, 64, 3)), np.ones((8, 8, 1)))
    for i in range(frames):
        frame = wide[:, speed * i : speed * i + 64] + rng.normal(0, 3, (64, 64, 3))
        yield np.clip(frame, 0, 255).astype(np.uint8)


def _differences(frames):
    found = shots.Differences()
    assert sum(1 for _ in found.watch(frames)) == len(found.values)
    return found.values


def test_cuts_between_scenes_are_found_at_their_frame():
    frames = [f for seed, n in enumerate((20, 9, 30)) for f in _scene(seed, n)]
    differences = _differences(frames)
    assert shots.find_cuts(differences) == [20, 29]
    wanted = ((0, 20), (20, 29), (29, 59))
    assert shots.find_shots(differences, split_cuts=True) == wanted
    assert shots.find_shots(differences, split_cuts=False) == ((0, 59),)


def test_a_fast_pan_is_no_cut():
    still, fast = list(_scene(0, 20, speed=0)), list(_scene(0, 20, speed=7))
    assert shots.find_cuts(_differences(still + fast)) == []


def test_a_flash_is_no_cut():
    frames = list(_scene(0, 30))
    frames[12] = np.full_like(frames[12], 255)
    assert shots.find_cuts(_differences(frames)) == []


def test_a_slow_fade_is_no_cut():
    frames = [(f * (1 - i / 30)).astype(np.uint8) for i, f in enumerate(_scene(0, 30))]
    assert shots.find_cuts(_differences(frames)) == []


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_short_sources_are_one_shot(frames):
    differences = _differences(_scene(0, frames))
    assert shots.find_shots(differences, split_cuts=True) == ((0, frames),)


# Read off contact sheets of the clips by eye.
CUTS = {
    "bigbuckbunny": [],
    "carphone": [],
    "bikes": [30, 76, 137, 187, 242],
    "band": [183, 243, 365, 395, 485, 552, 706, 741, 864]
    + [923, 959, 1024, 1119, 1162, 1188, 1300, 1369, 1432],
}


@pytest.mark.parametrize("name", CUTS)
def test_cuts_of_the_packaged_clips(name):
    pytest.importorskip(packaged.CLIPS[name].module)
    (source,) = videos.find([f"packaged:{name}"])
    pixels = videos.iterate_pixels(source, height=64, width=64)
    assert shots.find_cuts(_differences(pixels)) == CUTS[name]
