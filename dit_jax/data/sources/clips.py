"""Windows of frames inside one shot, divided into training and validation by time."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from dit_jax.codec_spec import latent_grid, require_block
from dit_jax.errors import UserError

TRAIN, VALIDATION = "train", "validation"
SPLITS = (TRAIN, VALIDATION)


@dataclasses.dataclass(frozen=True)
class ClipSettings:
    """What decides the pixels of a dataset; the fields are the keys of `prepare.*`.

    num_frames, stride, hop: frames of a clip, source frames between them, and source
    frames between the starts of clips. validation_hop: the same for validation; None
    means `hop`. validation: share of each shot's time, in [0, 1). min_seconds: shorter
    shots give no clips.
    """

    sources: tuple[str, ...]
    exclude: tuple[str, ...]
    num_frames: int
    stride: int
    hop: int
    height: int
    width: int
    validation: float
    split_cuts: bool
    label: str
    min_seconds: float = 0.0
    validation_hop: int | None = None

    def __post_init__(self) -> None:
        for name in ("num_frames", "stride", "hop", "height", "width"):
            if getattr(self, name) < 1:
                raise UserError(
                    f"prepare.{name} is {getattr(self, name)}; choose 1 or more"
                )
        if self.validation_hop is not None and self.validation_hop < 1:
            raise UserError(
                f"prepare.validation_hop is {self.validation_hop}; choose 1 or more"
            )
        if not self.min_seconds >= 0:
            raise UserError(
                f"prepare.min_seconds is {self.min_seconds}; choose 0 or more"
            )
        if not 0 <= self.validation < 1:
            raise UserError(
                f"prepare.validation is {self.validation}; choose a share of at least "
                "0 and below 1"
            )

    @classmethod
    def from_section(
        cls, section: Mapping[str, Any]
    ) -> "tuple[ClipSettings, dict[str, Any]]":
        """The settings of a `prepare` section, and its keys that are of storage."""
        names = {field.name for field in dataclasses.fields(cls)}
        mine = {key: section[key] for key in section if key in names}
        rest = {key: section[key] for key in section if key not in names}
        return cls(**mine), rest

    def require_blocks(self, block: Sequence[int]) -> None:
        """UserError when a codec's blocks (t, h, w) do not divide the clips."""
        require_block(block)
        t, h, w = block
        latent_grid((self.num_frames, self.height, self.width), (t, h, w))

    @property
    def span(self) -> int:
        """Source frames from the first to the last frame of a clip, inclusive."""
        return (self.num_frames - 1) * self.stride + 1

    def hop_of(self, split: str) -> int:
        if split == TRAIN or self.validation_hop is None:
            return self.hop
        return self.validation_hop


@dataclasses.dataclass(frozen=True)
class Window:
    """A clip: indices of its source and shot, and its first source frame."""

    source: int
    shot: int
    start: int


def divide(shot: tuple[int, int], settings: ClipSettings) -> dict[str, tuple[int, int]]:
    """Frames of a shot by split: the last share is validation, and no frame is in
    both. A shot too short for a clip of each is training as a whole."""
    first, end = shot
    middle = end - round((end - first) * settings.validation)
    if min(middle - first, end - middle) < settings.span:
        return {TRAIN: shot, VALIDATION: (end, end)}
    return {TRAIN: (first, middle), VALIDATION: (middle, end)}


def windows(
    shots: Sequence[Sequence[tuple[int, int]]], settings: ClipSettings, split: str
) -> list[Window]:
    """All windows of a split, by source, shot and time. `shots[source][shot]`."""
    found = []
    for source, source_shots in enumerate(shots):
        for index, shot in enumerate(source_shots):
            first, end = divide(shot, settings)[split]
            starts = range(first, end - settings.span + 1, settings.hop_of(split))
            found += [Window(source, index, start) for start in starts]
    return found
