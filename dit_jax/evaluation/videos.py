"""What evaluators bring: sets of videos in arrays or folders, read clip by clip.

A set is an `.npz` with uint8 `videos` [N, F, H, W, 3] (and `fps`, as the sample program
writes it), an `.npy` of the same shape, a folder that holds `samples.npz`, a folder of
video files, or a folder of frame folders. Floats are taken as [0, 1] and rounded.
"""

import dataclasses
import io
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from etils import epath
from jaxtyping import UInt8
from PIL import Image

from dit_jax import files
from dit_jax.data import video
from dit_jax.errors import DataError, UserError

Clip = UInt8[np.ndarray, "F H W 3"]
VIDEO_SUFFIXES = (".mp4", ".webm", ".mov", ".mkv", ".avi", ".gif")
LOSSLESS_FRAMES = (".png", ".bmp", ".ppm")
FRAME_SUFFIXES = (*LOSSLESS_FRAMES, ".jpg", ".jpeg", ".webp")
WHAT = "an .npz, an .npy, a folder of videos or a folder of frame folders"


@dataclasses.dataclass(frozen=True)
class VideoSet:
    """One side of a comparison. `read(i)` decodes clip i; iterating reads them all.

    fps is None when the container does not say; `available` counts the clips before
    a selection of them was drawn with `seed`.
    """

    source: str
    container: str
    is_lossy: bool
    fps: float | None
    names: tuple[str, ...]
    read: Callable[[int], Clip]
    available: int
    seed: int | None = None

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[Clip]:
        """Clips of one shape; UserError names the first that differs."""
        shape = None
        for i, name in enumerate(self.names):
            clip = self.read(i)
            shape = shape or clip.shape
            if clip.shape != shape:
                raise UserError(
                    f"{name} of {self.source} has shape {clip.shape} but the clips "
                    f"before it {shape}; bring all clips to one size"
                )
            yield clip

    def subset(self, num: int, seed: int) -> "VideoSet":
        """`num` clips without replacement, the same for a seed, in their order."""
        if num > len(self):
            raise UserError(
                f"{self.source} has {len(self)} clips but {num} are wanted; "
                f"lower --num to {len(self)} or bring more"
            )
        chosen = np.sort(np.random.RandomState(seed).permutation(len(self))[:num])
        return dataclasses.replace(
            self,
            names=tuple(self.names[i] for i in chosen),
            read=lambda i: self.read(int(chosen[i])),
            seed=seed,
        )

    def first_frames(self, num_frames: int) -> "VideoSet":
        """Every clip cut to its first frames; UserError when one is shorter."""

        def read(i: int) -> Clip:
            clip = self.read(i)
            if len(clip) < num_frames:
                raise UserError(
                    f"{self.names[i]} of {self.source} has {len(clip)} frames but "
                    f"{num_frames} are wanted; lower --num_frames or leave it out"
                )
            return clip[:num_frames]

        return dataclasses.replace(self, read=read)


def open_videos(name: files.PathLike) -> VideoSet:
    """The set behind a path; UserError or DataError says what was found instead."""
    found = files.require(name, "video set", "check the path")
    if found.is_dir():
        return _open_folder(found)
    if found.suffix == ".npz":
        return _open_npz(found)
    if found.suffix == ".npy":
        return _open_npy(found)
    raise UserError(f"{os.fspath(name)!r} is not a set of videos; give {WHAT}")


def natural_order(name: str) -> list[tuple[int, int | str]]:
    """A sort key under which frame10 comes after frame2."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part)) if part.isdigit() else (1, part) for part in parts]


def _open_folder(folder: epath.Path) -> VideoSet:
    if (folder / "samples.npz").exists():
        return _open_npz(folder / "samples.npz")
    entries = sorted(folder.iterdir(), key=lambda path: natural_order(path.name))
    entries = [path for path in entries if not path.name.startswith(".")]
    videos = [path for path in entries if path.suffix.lower() in VIDEO_SUFFIXES]
    if videos:
        return _open_video_files(folder, videos)
    clips = [path for path in entries if path.is_dir() and _frames(path)]
    if clips:
        return _open_frame_folders(folder, clips)
    raise UserError(
        f"{os.fspath(folder)!r} holds no samples.npz, video files or frame folders; "
        f"give {WHAT}"
    )


def _open_video_files(folder: epath.Path, paths: list[epath.Path]) -> VideoSet:
    rates = {round(video.probe(path).fps, 3) for path in paths}
    if len(rates) > 1:
        raise UserError(
            f"the videos of {os.fspath(folder)!r} run at {sorted(rates)} fps; bring "
            "them to one rate"
        )
    return VideoSet(
        source=os.fspath(folder),
        container="video files " + " ".join(sorted({path.suffix for path in paths})),
        is_lossy=True,
        fps=rates.pop(),
        names=tuple(path.name for path in paths),
        read=lambda i: video.read_video(paths[i])[0],
        available=len(paths),
    )


def _open_frame_folders(folder: epath.Path, clips: list[epath.Path]) -> VideoSet:
    suffixes = {path.suffix.lower() for clip in clips for path in _frames(clip)}
    return VideoSet(
        source=os.fspath(folder),
        container="frame folders " + " ".join(sorted(suffixes)),
        is_lossy=not suffixes <= set(LOSSLESS_FRAMES),
        fps=None,
        names=tuple(path.name for path in clips),
        read=lambda i: _read_frames(clips[i]),
        available=len(clips),
    )


def _frames(clip: epath.Path) -> list[epath.Path]:
    found = [path for path in clip.iterdir() if path.suffix.lower() in FRAME_SUFFIXES]
    return sorted(found, key=lambda path: natural_order(path.name))


def _read_frames(clip: epath.Path) -> Clip:
    try:
        frames = [
            np.asarray(Image.open(io.BytesIO(path.read_bytes())).convert("RGB"))
            for path in _frames(clip)
        ]
        return np.stack(frames)
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(
            f"the frames of {os.fspath(clip)!r} cannot be read as one clip ({error}); "
            "replace or leave it out"
        ) from error


def _open_npz(path: epath.Path) -> VideoSet:
    with path.open("rb") as file:
        archive = _load(file, path)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise DataError(f"{os.fspath(path)!r} is no .npz archive; save it anew")
        if "videos" not in archive.files:
            raise UserError(
                f"{os.fspath(path)!r} has {', '.join(archive.files) or 'nothing'} but "
                "no 'videos' [N, F, H, W, 3]; save the clips under that name"
            )
        videos = _member(archive, "videos", path)
        fps = _fps(archive, path) if "fps" in archive.files else None
    return _array_set(videos, path, "npz", fps)


def _open_npy(path: epath.Path) -> VideoSet:
    if files.is_local(path):
        videos = _load(os.fspath(path), path, mmap_mode="r")
    else:
        with path.open("rb") as file:
            videos = _load(file, path)
    return _array_set(videos, path, "npy", None)


def _load(file: Any, path: epath.Path, **options: Any) -> Any:
    try:
        return np.load(file, allow_pickle=False, **options)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{os.fspath(path)!r} is not an array file or was cut ({error}); save it "
            "anew without objects"
        ) from error


def _member(archive: Any, key: str, path: epath.Path) -> np.ndarray:
    try:
        return archive[key]
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"array {key!r} of {os.fspath(path)!r} is damaged ({error}); save it anew"
        ) from error


def _fps(archive: Any, path: epath.Path) -> float:
    found = _member(archive, "fps", path)
    if found.size != 1 or found.dtype.kind not in "iuf" or not 0 < found < np.inf:
        raise UserError(
            f"the fps of {os.fspath(path)!r} is {found.dtype} of shape {found.shape}; "
            "save one number above 0, or leave fps out"
        )
    return float(found.reshape(()))


def _array_set(
    videos: np.ndarray, path: epath.Path, container: str, fps: float | None
) -> VideoSet:
    if videos.ndim != 5 or videos.shape[-1] != 3:
        raise UserError(
            f"the videos of {os.fspath(path)!r} have shape {videos.shape}; wanted "
            "[N, F, H, W, 3], transpose them or repeat a grey channel"
        )
    names = tuple(f"clip {i}" for i in range(len(videos)))
    return VideoSet(
        source=os.fspath(path),
        container=container,
        is_lossy=False,
        fps=fps,
        names=names,
        read=lambda i: to_uint8(videos[i], f"{names[i]} of {os.fspath(path)}"),
        available=len(names),
    )


def to_uint8(clip: np.ndarray, name: str) -> Clip:
    """uint8 as it is; floats in [0, 1] times 255, rounded to nearest."""
    if clip.dtype == np.uint8:
        return np.ascontiguousarray(clip)
    if clip.dtype.kind != "f":
        raise UserError(
            f"{name} is {clip.dtype}; convert it to uint8 or floats in [0, 1]"
        )
    if not np.isfinite(clip).all():
        raise UserError(f"{name} holds NaN or infinity; leave it out or fix its maker")
    low, high = float(clip.min()), float(clip.max())
    if low < 0 or high > 1:
        raise UserError(
            f"{name} has floats from {low:.3g} to {high:.3g}; bring them to [0, 1] "
            "(from [-1, 1] by (x + 1) / 2) or save uint8"
        )
    return np.rint(clip.astype(np.float32) * 255).astype(np.uint8)
