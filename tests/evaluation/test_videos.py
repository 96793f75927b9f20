import numpy as np
import pytest
from PIL import Image

from dit_jax.data.video import write_video
from dit_jax.errors import DataError, UserError
from dit_jax.evaluation.videos import natural_order, open_videos, to_uint8


def _videos(num=5, frames=4):
    random = np.random.RandomState(0)
    return random.randint(0, 256, (num, frames, 8, 10, 3), dtype=np.uint8)


def _write_frames(folder, clip, name="frame{}.png"):
    folder.mkdir(parents=True)
    for i, frame in enumerate(clip):
        Image.fromarray(frame).save(folder / name.format(i))


@pytest.mark.parametrize("kind", ["npz", "npy", "sample folder", "frame folders"])
def test_lossless_sets_come_back_bit_for_bit(kind, tmp_path):
    videos, fps = _videos(frames=12), None
    if kind == "npy":
        path = tmp_path / "videos.npy"
        np.save(path, videos)
    elif kind == "frame folders":
        path = tmp_path
        for i, clip in enumerate(videos):
            _write_frames(tmp_path / f"clip{i}", clip)
    else:
        folder, fps = tmp_path, 8.0
        np.savez(folder / "samples.npz", videos=videos, labels=np.arange(5), fps=fps)
        path = folder / "samples.npz" if kind == "npz" else folder
    found = open_videos(path)
    assert (len(found), found.fps, found.is_lossy) == (5, fps, False)
    np.testing.assert_array_equal(np.stack(list(found)), videos)


def test_a_folder_of_mp4s_is_lossy_and_knows_its_rate(tmp_path):
    grey = np.full((12, 16, 16, 3), 90, np.uint8)
    for i in range(11):
        write_video(tmp_path / f"{i}.mp4", grey + np.uint8(10 * i), fps=12)
    found = open_videos(tmp_path)
    assert (len(found), found.fps, found.is_lossy) == (11, 12.0, True)
    means = [clip.mean() for clip in found]
    assert means == sorted(means)  # 10.mp4 is the last one, not the third
    assert means[10] == pytest.approx(190, abs=4)


def test_mixed_rates_are_refused(tmp_path):
    for i, fps in enumerate([8, 12]):
        write_video(tmp_path / f"{i}.mp4", np.zeros((9, 16, 16, 3), np.uint8), fps=fps)
    with pytest.raises(UserError, match=r"\[8.0, 12.0\] fps"):
        open_videos(tmp_path)


def test_numbers_in_names_are_sorted_as_numbers():
    names = ["frame1.png", "frame10.png", "frame11.png", "frame2.png", "a", "10", "9"]
    assert sorted(names, key=natural_order) == [
        "9",
        "10",
        "a",
        "frame1.png",
        "frame2.png",
        "frame10.png",
        "frame11.png",
    ]


def test_jpg_frames_are_lossy(tmp_path):
    _write_frames(tmp_path / "clip", _videos()[0], "{}.jpg")
    assert open_videos(tmp_path).is_lossy


def test_subsets_are_the_seeds_and_without_repeats(tmp_path):
    videos = np.arange(40, dtype=np.uint8).reshape(40, 1, 1, 1, 1)
    np.save(tmp_path / "v.npy", np.broadcast_to(videos, (40, 9, 2, 2, 3)))
    whole = open_videos(tmp_path / "v.npy")
    drawn = [[int(clip.max()) for clip in whole.subset(15, seed)] for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) == 15
    assert drawn[0] == sorted(drawn[0])
    assert whole.subset(15, 3).available == 40
    assert sorted(x for x in range(40) if x in drawn[0]) != list(range(15))
    with pytest.raises(UserError, match="40 clips but 41 are wanted; lower --num"):
        whole.subset(41, 0)


def test_the_clip_rule_is_the_first_frames(tmp_path):
    videos = _videos(frames=6)
    np.save(tmp_path / "v.npy", videos)
    cut = open_videos(tmp_path / "v.npy").first_frames(4)
    np.testing.assert_array_equal(np.stack(list(cut)), videos[:, :4])
    longer = open_videos(tmp_path / "v.npy").first_frames(7)
    with pytest.raises(UserError, match="6 frames but 7 are wanted; lower --num_fr"):
        next(iter(longer))


def test_clips_of_two_sizes_are_refused_by_name(tmp_path):
    _write_frames(tmp_path / "a", _videos()[0])
    _write_frames(tmp_path / "b", _videos()[0][:3])
    with pytest.raises(UserError, match=r"b of .* has shape \(3, 8, 10, 3\)"):
        list(open_videos(tmp_path))


def test_floats_are_rounded_from_the_unit_range():
    values = np.array([0, 0.5, 0.999, 1.0], np.float32)
    clip = np.broadcast_to(values[:, None, None, None], (4, 2, 2, 3))
    assert to_uint8(clip, "x")[:, 0, 0, 0].tolist() == [0, 128, 255, 255]


@pytest.mark.parametrize(
    "value, reason",
    [
        (np.full(3, -0.5), r"floats from -0.5 to -0.5; bring them to \[0, 1\]"),
        (np.full(3, 254.0), "floats from 254 to 254"),
        (np.array([0.5, np.nan]), "holds NaN"),
        (np.zeros(3, np.int64), "is int64; convert it to uint8"),
    ],
)
def test_values_of_another_range_are_refused(value, reason):
    with pytest.raises(UserError, match=f"clip 3 .*{reason}|clip 3 {reason}"):
        to_uint8(value, "clip 3")


def test_what_is_no_video_set_is_one_sentence(tmp_path):
    (tmp_path / "empty").mkdir()
    np.savez(tmp_path / "other.npz", images=np.ones(3))
    np.save(tmp_path / "flat.npy", np.ones((4, 3, 8, 8), np.uint8))
    np.save(tmp_path / "first.npy", np.ones((2, 4, 3, 8, 8), np.uint8))
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    np.savez(tmp_path / "rates.npz", videos=_videos(), fps=np.array([8.0, 12.0]))
    np.savez(tmp_path / "word.npz", videos=_videos(), fps="fast")
    np.savez(tmp_path / "still.npz", videos=_videos(), fps=0)
    (tmp_path / "clip.mp4").touch()
    np.savez(tmp_path / "cut.npz", videos=_videos())
    (tmp_path / "cut.npz").write_bytes((tmp_path / "cut.npz").read_bytes()[:900])
    for name, kind, reason in [
        ("absent", UserError, "does not exist; check the path"),
        ("empty", UserError, "no samples.npz, video files or frame folders"),
        ("other.npz", UserError, "has images but no 'videos'"),
        ("flat.npy", UserError, r"shape \(4, 3, 8, 8\); wanted \[N, F, H, W, 3\]"),
        ("first.npy", UserError, "transpose them"),
        ("objects.npy", DataError, "save it anew without objects"),
        ("rates.npz", UserError, r"of shape \(2,\); save one number above 0"),
        ("word.npz", UserError, "save one number above 0"),
        ("still.npz", UserError, "save one number above 0"),
        ("clip.mp4", UserError, "is not a set of videos"),
        ("cut.npz", DataError, "was cut"),
    ]:
        with pytest.raises(kind, match=reason):
            open_videos(tmp_path / name)
