"""What every part of a model is made from."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from flax import nnx
from jaxtyping import DTypeLike

from dit_jax import types
from dit_jax.models.choices import (
    CONDITIONINGS,
    FRAMES,
    INITS,
    NORMS,
    TEXTS,
    Reading,
    Telling,
)
from dit_jax.models.positions import Triple

Factory = Callable[..., nnx.Module]
"""`(rngs=...) -> module`."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Completed values of a design, and what is no value."""

    values: Mapping[str, Any]
    latent_shape: tuple[int, int, int, int]
    num_classes: int
    attention: types.Attention
    dtype: DTypeLike
    constrain: types.Constrain

    @property
    def width(self) -> int:
        return self.values["width"]

    @property
    def patch(self) -> Triple:
        return tuple(self.values["patch"])

    @property
    def channels(self) -> int:
        return self.latent_shape[-1]

    @property
    def placed(self) -> dict[str, Any]:
        """What every layer with large maps takes."""
        return {
            "width": self.width,
            "kernel_init": INITS[self.values["init"]],
            "dtype": self.dtype,
            "constrain": self.constrain,
        }

    @property
    def telling(self) -> Telling:
        return CONDITIONINGS[self.values["conditioning"]]

    @property
    def text(self) -> Reading:
        return TEXTS[self.values["text"]]

    @property
    def frames(self) -> Reading:
        return FRAMES[self.values["frames"]]

    @property
    def norm(self) -> Factory:
        """Of a branch or head without modulation."""
        return partial(NORMS[self.values["norm"]], self.width)
