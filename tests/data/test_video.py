"""Laws of reading and writing video files."""

import numpy as np
import PIL.Image
import pytest

from dit_jax.data import video
from dit_jax.errors import DataError, UserError


def _moving_square(frames=9, height=32, width=48):
    clip = np.full((frames, height, width, 3), 40, np.uint8)
    for i in range(frames):
        clip[i, 8:16, 2 * i : 2 * i + 8] = (220, 60, 120)
    return clip


@pytest.mark.parametrize("size", [(32, 48), (33, 47)], ids=["even", "odd"])
def test_what_is_written_is_read_back(tmp_path, size):
    clip = _moving_square(height=size[0], width=size[1])
    video.write_video(tmp_path / "a.mp4", clip, 12.5)
    found, fps = video.read_video(tmp_path / "a.mp4")
    assert fps == 12.5
    found = found[:, : size[0], : size[1]]
    assert found.shape == clip.shape
    # H.264 in yuv420p halves the colour resolution: edges differ, areas do not.
    assert np.abs(found.astype(int) - clip).mean() < 3
    assert np.abs(found[:, 10:14, 24:].astype(int) - clip[:, 10:14, 24:]).mean() < 6


def test_odd_sizes_repeat_the_last_row_and_column(tmp_path):
    clip = _moving_square(height=33, width=47)
    video.write_video(tmp_path / "a.mp4", clip, 8, crf=0)
    found, _ = video.read_video(tmp_path / "a.mp4")
    assert found.shape[1:3] == (34, 48)


def test_a_fractional_rate_survives(tmp_path):
    video.write_video(tmp_path / "a.mp4", _moving_square(), 30000 / 1001)
    assert video.probe(tmp_path / "a.mp4").fps == pytest.approx(30000 / 1001)


def test_max_frames_reads_the_start(tmp_path):
    video.write_video(tmp_path / "a.mp4", _moving_square(), 8)
    whole, _ = video.read_video(tmp_path / "a.mp4")
    start, _ = video.read_video(tmp_path / "a.mp4", max_frames=4)
    np.testing.assert_array_equal(start, whole[:4])


def _text(path):
    path.write_text("not a video\n" * 50)


def _empty(path):
    path.write_bytes(b"")


def _picture(path):
    PIL.Image.fromarray(_moving_square()[0]).save(path, format="PNG")


def _without_index(path):
    video.write_video(path, _moving_square(), 8)
    path.write_bytes(path.read_bytes()[:700])


@pytest.mark.parametrize("make", [_text, _empty, _picture, _without_index])
@pytest.mark.parametrize("suffix", [".mp4", ".txt"])
def test_what_is_not_a_video_is_one_sentence_of_bad_data(tmp_path, make, suffix):
    path = tmp_path / f"clip{suffix}"
    make(path)
    with pytest.raises(DataError, match=path.name) as caught:
        video.read_video(path)
    assert "\n" not in str(caught.value)


def test_a_file_cut_short_is_bad_data(tmp_path):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (40, 64, 64, 3), dtype=np.uint8)
    video.write_video(tmp_path / "a.mp4", noise, 8)
    whole = (tmp_path / "a.mp4").read_bytes()
    # The index of an mp4 stands at the end; blank the second half of the frames.
    middle, index = len(whole) // 2, whole.rindex(b"moov") - 4
    (tmp_path / "b.mp4").write_bytes(
        whole[:middle] + bytes(index - middle) + whole[index:]
    )
    with pytest.raises(DataError, match=r"corrupt|cut short"):
        video.read_video(tmp_path / "b.mp4")


def test_a_missing_file_and_a_folder_are_the_users(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        video.read_video(tmp_path / "none.mp4")
    with pytest.raises(UserError, match="folder"):
        video.read_video(tmp_path)
    with pytest.raises(ValueError, match="0 frames"):
        video.write_video(tmp_path / "a.mp4", _moving_square()[:0], 8)
