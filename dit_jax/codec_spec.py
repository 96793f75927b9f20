"""What a codec is, apart from its weights: the vocabulary of datasets and samplers.

A codec turns videos in [-1, 1] into raw latents and back. Records hold raw latents;
models see normalised ones. `normalize` and `denormalize` are the only code that
converts between the two.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import numpy as np

from dit_jax.errors import DataError, UserError

AnyArray = TypeVar("AnyArray", np.ndarray, jax.Array)


@dataclasses.dataclass(frozen=True)
class CodecSpec:
    """Frozen, and equal to its JSON form.

    name: such as `pca-8x8x4-c48` (height x width x time of a block, channels).
    kind: the row of `codecs.KINDS` that reads it.
    compression: pixels to one latent position along (time, height, width).
    mean, std: of raw latents over the fitting set, one number a channel.
    scale: the divisor of `normalize`, one positive number a channel.
    sha256: of the weight file; the identity of the codec.
    flip_sign: +1 or -1 a channel when flipping a video left-right equals reversing the
        latents' W and multiplying by it; None when the codec has no such law.
    """

    name: str
    kind: str
    compression: tuple[int, int, int]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: tuple[float, ...]
    sha256: str
    flip_sign: tuple[int, ...] | None

    def __post_init__(self) -> None:
        for field in ("mean", "std", "scale", "flip_sign"):
            value = getattr(self, field)
            if value is not None and len(value) != self.channels:
                raise DataError(
                    f"codec {self.name!r} has {len(value)} values of {field} for "
                    f"{self.channels} channels; its specification was edited"
                )
        if not all(0 < value < math.inf for value in self.scale):
            raise DataError(
                f"codec {self.name!r} has a scale that is not positive and finite; fit "
                "the codec anew"
            )

    def normalize(self, raw: AnyArray) -> AnyArray:
        """`(raw - mean) / scale` over the last axis, float32, numpy or JAX."""
        mean, scale = self._rows(raw.shape)
        value = raw.astype(np.float32)  # a copy: numpy goes on in place
        value -= mean
        value /= scale
        return value

    def denormalize(self, latents: AnyArray) -> AnyArray:
        """The inverse of `normalize`, float32, numpy or JAX."""
        mean, scale = self._rows(latents.shape)
        return latents.astype(np.float32) * scale + mean

    def latent_shape(
        self, frames: int, height: int, width: int
    ) -> tuple[int, int, int, int]:
        """(T, H, W, C) of a clip; UserError when a block does not divide it."""
        grid = latent_grid((frames, height, width), self.compression)
        return *grid, self.channels

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "CodecSpec":
        """The inverse of `to_json` (after a trip through a file); DataError else."""
        wanted = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(value, dict) or set(value) != wanted:
            found = sorted(value) if isinstance(value, dict) else type(value).__name__
            raise DataError(
                f"a codec specification has {found}, wanted {sorted(wanted)}; it was "
                "written by another version, make it anew"
            )
        lists = {k: tuple(v) for k, v in value.items() if isinstance(v, list | tuple)}
        return cls(**(value | lists))

    def _rows(self, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """mean and scale as [1, ..., 1, W, C]: ranks match, nothing is promoted. W
        copies, since numpy is eight times slower over rows of a few channels."""
        ones = (1,) * len(shape[:-2])
        mean, scale = (
            np.broadcast_to(np.asarray(row, np.float32), shape[-2:]).copy()
            for row in (self.mean, self.scale)
        )
        return mean.reshape(ones + mean.shape), scale.reshape(ones + scale.shape)


def require_block(block: Sequence[int]) -> None:
    """UserError unless a codec's block has three positive sides."""
    if len(block) != 3 or min(block) < 1:
        raise UserError(
            f"codec.block is {tuple(block)}; give (frames, height, width), each at "
            "least 1"
        )


def latent_grid(
    size: tuple[int, int, int], block: tuple[int, int, int]
) -> tuple[int, int, int]:
    """(T, H, W) of (frames, height, width); UserError when blocks do not divide it."""
    for name, pixels, side in zip(
        ("num_frames", "height", "width"), size, block, strict=True
    ):
        if pixels <= 0 or pixels % side:
            raise UserError(
                f"{name} is {pixels}, not a multiple of the codec's block of {side}; "
                "choose one that is"
            )
    return size[0] // block[0], size[1] // block[1], size[2] // block[2]
