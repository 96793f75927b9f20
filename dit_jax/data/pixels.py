"""The pixels behind records, cut from their sources again instead of being stored."""

import contextlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from dit_jax import files
from dit_jax.data.manifest import Manifest, SourceEntry
from dit_jax.data.reader import Reader
from dit_jax.data.sources import videos
from dit_jax.errors import DataError


def clips_of_records(
    path: files.PathLike, indices: Sequence[int], *, split: str = "train"
) -> UInt8[np.ndarray, "B F H W 3"]:
    """The clips that records `indices` of a dataset's split were encoded from."""
    reader = Reader(path, split)
    places = []
    for index in indices:
        record = reader[index]
        places.append((int(record["source"]), int(record["start_frame"])))
    return clips(reader.manifest, places)


def clips(
    manifest: Manifest, places: Sequence[tuple[int, int]]
) -> UInt8[np.ndarray, "B F H W 3"]:
    """Clips at (source number, start frame), decoding each source needed once.

    DataError when a source is not the file that the dataset was made of.
    """
    settings = manifest.settings["prepare"]
    frames, stride = settings["num_frames"], settings["stride"]
    height, width = settings["height"], settings["width"]
    found = np.zeros((len(places), frames, height, width, 3), np.uint8)
    for number in sorted({source for source, _ in places}):
        wanted: dict[int, list[tuple[int, int]]] = {}
        for row, (source, start) in enumerate(places):
            for i in range(frames if source == number else 0):
                wanted.setdefault(start + i * stride, []).append((row, i))
        _fill(found, manifest.sources[number], wanted)
    return found


def _fill(
    found: UInt8[np.ndarray, "B F H W 3"],
    entry: SourceEntry,
    wanted: dict[int, list[tuple[int, int]]],
) -> None:
    """Copies the frames `{source frame: [(clip, frame of the clip)]}` of one source."""
    source = videos.Source(entry.origin, entry.name, "", entry.licence)
    digest = files.sha256(
        files.require(source.path, "source video", "the dataset was made of it")
    )
    if digest != entry.sha256:
        raise DataError(
            f"source {entry.origin!r} has sha256 {digest[:12]}, wanted "
            f"{entry.sha256[:12]}; it is not the file that the dataset was made of"
        )
    height, width = found.shape[2:4]
    pixels = videos.iterate_pixels(source, height=height, width=width)
    with contextlib.closing(pixels) as stream:
        for index, frame in enumerate(stream):
            for row, i in wanted.pop(index, ()):
                found[row, i] = frame
            if not wanted:
                return
    raise DataError(
        f"source {entry.origin!r} ends before frame {min(wanted)}; it is not the file "
        "that the dataset was made of"
    )
