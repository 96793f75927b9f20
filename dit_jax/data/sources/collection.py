"""Decodes every source once and keeps its small frames on disk for the passes to come.

Fitting a codec and encoding clips each read the pixels; decoding is the slow part. So
frames are cropped, resized and appended to one raw file a source in a scratch folder,
and read from there through a memory map: a long film never has to fit in memory.
"""

import dataclasses
import functools
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from dit_jax import files
from dit_jax.data import video
from dit_jax.data.sources import clips, labels, shots, videos
from dit_jax.data.sources.clips import ClipSettings, Window
from dit_jax.data.sources.videos import Source
from dit_jax.errors import UserError, choose

BATCH_VALUES = 1 << 24  # pixel values encoded at once


@dataclasses.dataclass(frozen=True)
class Decoded:
    """One source at the wanted size. shots: (first frame, frame after the last)."""

    source: Source
    info: video.VideoInfo
    num_frames: int
    shots: tuple[tuple[int, int], ...]
    file: Path
    size: tuple[int, int]

    @functools.cached_property
    def frames(self) -> UInt8[np.ndarray, "F H W 3"]:
        shape = (self.num_frames, *self.size, 3)
        return np.memmap(self.file, np.uint8, mode="r", shape=shape)


@dataclasses.dataclass(frozen=True)
class Collection:
    """All sources, decoded, with the windows that the settings ask for."""

    settings: ClipSettings
    decoded: tuple[Decoded, ...]

    @functools.cached_property
    def shots(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """(first frame, frame after the last) by source; too short ones are empty."""
        found = []
        for item in self.decoded:
            shortest = self.settings.min_seconds * item.info.fps
            found.append(
                tuple((a, b if b - a >= shortest else a) for a, b in item.shots)
            )
        return tuple(found)

    @functools.cached_property
    def windows(self) -> dict[str, list[Window]]:
        return {
            split: clips.windows(self.shots, self.settings, split)
            for split in clips.SPLITS
        }

    def classes(self) -> tuple[list[labels.ClassEntry], dict[labels.Key, int]]:
        return labels.classes(
            self.settings.label,
            self.windows[clips.TRAIN],
            sources=self.sources,
            shots=[item.shots for item in self.decoded],
            fps=[item.info.fps for item in self.decoded],
        )

    @property
    def sources(self) -> tuple[Source, ...]:
        return tuple(item.source for item in self.decoded)

    def pixels(self, chosen: Sequence[Window]) -> UInt8[np.ndarray, "B F H W 3"]:
        """The frames of some windows."""
        stride, span = self.settings.stride, self.settings.span
        return np.stack(
            [
                self.decoded[w.source].frames[w.start : w.start + span : stride]
                for w in chosen
            ]
        )

    def batches(
        self, chosen: Sequence[Window]
    ) -> Iterator[tuple[UInt8[np.ndarray, "B F H W 3"], int]]:
        """Clips in batches of one size, and how many are not mere filling."""
        settings = self.settings
        values = settings.num_frames * settings.height * settings.width * 3
        size = max(1, min(len(chosen), BATCH_VALUES // values))
        for start in range(0, len(chosen), size):
            part = list(chosen[start : start + size])
            yield self.pixels(part + part[-1:] * (size - len(part))), len(part)

    def fitting_videos(
        self, excluded: Container[str]
    ) -> Iterator[UInt8[np.ndarray, "F H W 3"]]:
        """Every `stride`-th frame of the training part of every shot, without the
        sources whose origin is excluded."""
        for item, shots_of in zip(self.decoded, self.shots, strict=True):
            if item.source.origin in excluded:
                continue
            for shot in shots_of:
                first, end = clips.divide(shot, self.settings)[clips.TRAIN]
                yield item.frames[first : end : self.settings.stride]

    def unseen(self, excluded: Container[str]) -> list[tuple[str, list[Window]]]:
        """For each source, what to call them and clips without overlap that a fit on
        `fitting_videos` has not seen: all of an excluded source, else validation."""
        apart = dataclasses.replace(
            self.settings, hop=self.settings.span, validation_hop=None
        )
        whole = dataclasses.replace(apart, validation=0.0)
        by_part = {
            "left out of the fit": clips.windows(self.shots, whole, clips.TRAIN),
            "validation part": clips.windows(self.shots, apart, clips.VALIDATION),
        }
        found = []
        for index, source in enumerate(self.sources):
            is_excluded = source.origin in excluded
            part = "left out of the fit" if is_excluded else "validation part"
            mine = [window for window in by_part[part] if window.source == index]
            found.append((f"{source.name} ({part}, {len(mine)} clips)", mine))
        return found


def find_sources(settings: ClipSettings) -> tuple[tuple[Source, ...], frozenset[str]]:
    """The sources, and the origins of those that the codec is not fitted on."""
    choose(labels.KEYS, settings.label, "prepare.label")
    sources = videos.find(settings.sources)
    if not settings.exclude:
        return sources, frozenset()
    excluded = videos.find(settings.exclude, key="prepare.exclude")
    origins = {source.origin for source in sources}
    for source in excluded:
        if source.origin not in origins:
            raise UserError(
                f"prepare.exclude names {source.origin!r}, which is not among "
                "prepare.sources; add it there or leave it out here"
            )
    if len(excluded) == len(sources):
        raise UserError(
            "prepare.exclude names every source, so the codec has nothing to be fitted "
            "on; exclude fewer"
        )
    return sources, frozenset(source.origin for source in excluded)


def collect(
    sources: Sequence[Source],
    settings: ClipSettings,
    scratch: files.PathLike,
    progress: Callable[[str], None] = lambda line: None,
) -> Collection:
    """Decodes all sources into `scratch`, a local folder that outlives the result.

    Headers are read first, so that a file that is no video stops before the work.
    Raises UserError when no shot is long enough for one training clip.
    """
    infos = [video.probe(source.path) for source in sources]
    decoded = []
    for index, (source, info) in enumerate(zip(sources, infos, strict=True)):
        file = Path(scratch) / f"{index:06d}.rgb"
        decoded.append(_decode(source, info, settings, file))
        progress(
            f"decoded {source.name}: {decoded[-1].num_frames} frames of "
            f"{info.width}x{info.height} at {info.fps:g} fps, "
            f"{len(decoded[-1].shots)} shots"
        )
    collection = Collection(settings, tuple(decoded))
    if not collection.windows[clips.TRAIN]:
        longest = max(end - first for item in decoded for first, end in item.shots)
        raise UserError(
            f"no clip fits: the longest shot has {longest} frames, one clip spans "
            f"{settings.span} and a shot lasts at least prepare.min_seconds="
            f"{settings.min_seconds:g}; lower prepare.num_frames, prepare.stride or "
            "prepare.min_seconds, or add longer videos"
        )
    return collection


def _decode(
    source: Source, info: video.VideoInfo, settings: ClipSettings, file: Path
) -> Decoded:
    differences = shots.Differences()
    frames = videos.iterate_pixels(source, height=settings.height, width=settings.width)
    try:
        with open(file, "wb") as output:
            for frame in differences.watch(frames):
                output.write(frame.tobytes())
    except OSError as error:
        raise files.storage_error(error, file) from error
    return Decoded(
        source=source,
        info=info,
        num_frames=len(differences.values),
        shots=shots.find_shots(differences.values, split_cuts=settings.split_cuts),
        file=file,
        size=(settings.height, settings.width),
    )
