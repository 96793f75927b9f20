"""Sources decoded once: the same pixels as decoding again, fits kept off the rest."""

import dataclasses

import numpy as np
import pytest

from dit_jax.data import video
from dit_jax.data.sources import clips, collection, videos
from dit_jax.data.sources.clips import ClipSettings
from dit_jax.errors import DataError, UserError

SETTINGS = ClipSettings(
    sources=(),
    exclude=(),
    num_frames=4,
    stride=1,
    hop=2,
    height=16,
    width=16,
    validation=0.25,
    split_cuts=True,
    label="shot",
)


@pytest.fixture
def folder(tmp_path):
    """Two videos: one of 40 frames, and one of two shots of 20."""
    rng = np.random.default_rng(0)
    scenes = [np.kron(rng.integers(0, 256, (4, 8, 3)), np.ones((8, 8, 1)))] * 1
    scenes += [np.kron(rng.integers(0, 256, (4, 8, 3)), np.ones((8, 8, 1)))]
    frames = [s[:, i // 2 : i // 2 + 32] for s in scenes for i in range(20)]
    cut = np.asarray(frames).astype(np.uint8)
    video.write_video(tmp_path / "one.mp4", cut[[*range(20), *range(19, -1, -1)]], 10)
    video.write_video(tmp_path / "two.mp4", cut, 20)
    return tmp_path


def _collect(folder, tmp_path, **changes):
    settings = dataclasses.replace(SETTINGS, sources=(str(folder),), **changes)
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    sources, excluded = collection.find_sources(settings)
    return collection.collect(sources, settings, scratch), excluded


def test_pixels_are_those_of_the_source(folder, tmp_path):
    found, _ = _collect(folder, tmp_path, stride=3)
    for split in clips.SPLITS:
        for window in found.windows[split][::3]:
            source = found.sources[window.source]
            whole = list(videos.iterate_pixels(source, height=16, width=16))
            wanted = whole[window.start : window.start + 10 : 3]
            np.testing.assert_array_equal(found.pixels([window])[0], wanted)


def test_a_shot_that_is_too_short_gives_no_clips_and_fits_no_codec(folder, tmp_path):
    """The film of two shots has 20 frames a second, so that each lasts one."""
    found, _ = _collect(folder, tmp_path, min_seconds=1.01)
    assert {window.source for window in found.windows[clips.TRAIN]} == {0}
    assert sum(map(len, found.fitting_videos(()))) == 30
    entries, _ = found.classes()
    assert [entry.name for entry in entries] == ["one"]
    with pytest.raises(UserError, match="no clip fits.*prepare.min_seconds=9"):
        _collect(folder, tmp_path, min_seconds=9.0)


def test_shots_are_those_that_were_filmed(folder, tmp_path):
    found, _ = _collect(folder, tmp_path)
    assert [item.shots for item in found.decoded] == [((0, 40),), ((0, 20), (20, 40))]
    found, _ = _collect(folder, tmp_path, split_cuts=False)
    assert found.decoded[1].shots == ((0, 40),)


def test_a_fit_sees_no_validation_frame_and_no_excluded_source(folder, tmp_path):
    found, excluded = _collect(folder, tmp_path, exclude=(str(folder / "one.mp4"),))
    seen = np.concatenate(list(found.fitting_videos(excluded)))
    assert len(seen) == 15 + 15  # of each shot of 20, the first three quarters
    frames = found.decoded[1].frames
    wanted = np.concatenate([frames[0:15], frames[20:35]])
    np.testing.assert_array_equal(seen, wanted)
    (first, second) = found.unseen(excluded)
    assert "one (left out of the fit, 10 clips)" in first
    assert "two (validation part, 2 clips)" in second


def test_batches_hold_every_window_once_and_are_filled_to_one_size(
    folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(collection, "BATCH_VALUES", 3 * 4 * 16 * 16 * 3)
    found, _ = _collect(folder, tmp_path)
    windows = found.windows[clips.TRAIN][:8]
    batches = list(found.batches(windows))
    assert [(len(video), count) for video, count in batches] == [(3, 3), (3, 3), (3, 2)]
    joined = np.concatenate([video[:count] for video, count in batches])
    np.testing.assert_array_equal(joined, found.pixels(windows))


def test_too_few_frames_tell_how_many_there_are(folder, tmp_path):
    with pytest.raises(
        UserError, match="longest shot has 40 frames, one clip spans 41"
    ):
        _collect(folder, tmp_path, num_frames=41)


def test_a_broken_video_stops_before_the_work(folder, tmp_path):
    (folder / "three.mp4").write_text("no video")
    with pytest.raises(DataError, match=r"three\.mp4"):
        _collect(folder, tmp_path)
    assert not list((tmp_path / "scratch").iterdir())


def test_exclude_must_name_some_of_the_sources(folder):
    settings = dataclasses.replace(SETTINGS, sources=(str(folder / "one.mp4"),))
    two = dataclasses.replace(settings, exclude=(str(folder / "two.mp4"),))
    with pytest.raises(UserError, match=r"two\.mp4.*not among"):
        collection.find_sources(two)
    all_of_them = dataclasses.replace(settings, exclude=settings.sources)
    with pytest.raises(UserError, match="names every source"):
        collection.find_sources(all_of_them)
