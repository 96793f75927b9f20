"""Names in a config to video files, and their frames at the size we train on."""

import dataclasses
import os
from collections.abc import Generator, Sequence

import numpy as np
import PIL.Image
from jaxtyping import UInt8

from dit_jax import files
from dit_jax.data import video
from dit_jax.data.sources import packaged
from dit_jax.errors import UserError

# What a folder is searched for; a file that is named may have any suffix.
SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".webm")
UNKNOWN_LICENCE = "not stated"
KERNEL = "pillow bilinear, antialiased"


@dataclasses.dataclass(frozen=True)
class Source:
    """One video. origin: `packaged:NAME` or a path; name: unique in a dataset;
    folder: the name of the folder that holds it, a class in `prepare.label=folder`."""

    origin: str
    name: str
    folder: str
    licence: str

    @property
    def path(self) -> files.PathLike:
        if self.origin.startswith(packaged.PREFIX):
            return packaged.find(self.origin)
        return self.origin


def find(entries: Sequence[str], *, key: str = "prepare.sources") -> tuple[Source, ...]:
    """Every video of files, folders (with their folders, sorted) and packaged names.

    Raises UserError for a name that is missing, a folder without a video, or a video
    that is named twice.
    """
    found = [source for entry in entries for source in _expand(str(entry))]
    if not found:
        raise UserError(f"{key} is empty; name files, folders or packaged:NAME")
    origins = [source.origin for source in found]
    twice = {origin for origin in origins if origins.count(origin) > 1}
    if twice:
        raise UserError(f"{key} names {sorted(twice)[0]!r} twice; name it once")
    names = [source.name for source in found]
    return tuple(
        dataclasses.replace(source, name=_unique(source.name, names, i))
        for i, source in enumerate(found)
    )


def iterate_pixels(
    source: Source, *, height: int, width: int
) -> Generator[UInt8[np.ndarray, "H W 3"], None, None]:
    """Frames in order, decoded once: the largest centred crop of the wanted aspect,
    resized with Pillow's antialiased bilinear (triangle) kernel. Deterministic."""
    for frame in video.iterate_frames(source.path):
        yield fit_frame(frame, height=height, width=width)


def fit_frame(
    frame: UInt8[np.ndarray, "Hs Ws 3"], *, height: int, width: int
) -> UInt8[np.ndarray, "H W 3"]:
    """Centre crop to the aspect of height x width, then resize. See above."""
    source_height, source_width = frame.shape[:2]
    share = min(source_height / height, source_width / width)
    crop_height, crop_width = share * height, share * width
    top, left = (source_height - crop_height) / 2, (source_width - crop_width) / 2
    picture = PIL.Image.fromarray(frame).resize(
        (width, height),
        PIL.Image.Resampling.BILINEAR,
        box=(left, top, left + crop_width, top + crop_height),
    )
    return np.asarray(picture)


def _expand(entry: str) -> list[Source]:
    if entry.startswith(packaged.PREFIX):
        packaged.find(entry)
        name = entry.removeprefix(packaged.PREFIX)
        return [Source(entry, name, "packaged", packaged.CLIPS[name].licence)]
    found = files.require(entry, "source", "check prepare.sources")
    if not found.is_dir():
        return [_source(entry, found.stem, found.parent.name)]
    inside = _videos(found)
    if not inside:
        raise UserError(
            f"folder {entry!r} holds no video ({' '.join(SUFFIXES)}); choose another"
        )
    return [
        _source(os.fspath(file), _relative(file, found), file.parent.name)
        for file in inside
    ]


def _source(origin: str, name: str, folder: str) -> Source:
    if files.is_local(origin):
        origin = os.path.abspath(os.path.expanduser(origin))
    return Source(origin, name, folder, UNKNOWN_LICENCE)


def _videos(folder) -> list:
    found = []
    for child in sorted(folder.iterdir(), key=lambda path: path.name):
        if child.name.startswith("."):
            continue
        if child.is_dir():
            found += _videos(child)
        elif child.suffix.lower() in SUFFIXES:
            found.append(child)
    return found


def _relative(file, folder) -> str:
    return os.path.splitext(os.path.relpath(os.fspath(file), os.fspath(folder)))[0]


def _unique(name: str, names: Sequence[str], position: int) -> str:
    """`name`, or `name-2` for the second of that name."""
    count = names[: position + 1].count(name)
    return name if count == 1 else f"{name}-{count}"
