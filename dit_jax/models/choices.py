"""The names that a model's values may have: tables from a name to a part.

The seams are `CONDITIONINGS` (how a model is told), `MIXINGS` (what a token attends to,
in `mixings`) and `STACKS`; every other table belongs to one part.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, DTypeLike

from dit_jax import types
from dit_jax.models import conditioning as told
from dit_jax.models import embeddings, positions
from dit_jax.models.blocks import Gated, Modulated, PostNorm, PreNorm
from dit_jax.models.mixings import MIXINGS
from dit_jax.models.primitives import (
    XAVIER,
    Initializer,
    LayerNorm,
    NoNorm,
    PlainNorm,
    RMSNorm,
    gelu_tanh,
)
from dit_jax.models.remat import REMATS
from dit_jax.models.stacks import BlockFactory, LongSkips, Straight

NORMS: dict[str, Callable[..., nnx.Module]] = {
    "plain": PlainNorm,
    "affine": LayerNorm,
    "affine_1e-5": partial(LayerNorm, epsilon=1e-5),
}
QK_NORMS: dict[str, Callable[..., nnx.Module]] = {
    "none": NoNorm,
    "rms": RMSNorm,
    "layer": LayerNorm,
}
QK_WIDTHS: dict[str, Callable[[int, int], int]] = {
    "head": lambda width, num_heads: width // num_heads,
    "model": lambda width, num_heads: width,
}
UNMODULATED: dict[str, Callable[..., nnx.Module]] = {
    "pre_norm": PreNorm,
    "post_norm": PostNorm,
}
GELUS: dict[str, Callable[[Array], Array]] = {
    "tanh": gelu_tanh,
    "exact": partial(jax.nn.gelu, approximate=False),
}
INITS: dict[str, Initializer] = {
    "xavier": XAVIER,
    "truncated": nnx.initializers.truncated_normal(0.02),
}


def _fixed(table: Callable[..., Array]) -> Callable[..., Callable[..., nnx.Module]]:
    def make(
        grid: positions.Triple, num_extra: int, width: int, scale: float
    ) -> Callable[..., nnx.Module]:
        del grid, num_extra, width  # known when it is called
        return partial(positions.FixedPositions, table, scale=scale)

    return make


def _learned(
    grid: positions.Triple, num_extra: int, width: int, scale: float
) -> Callable[..., nnx.Module]:
    del scale  # it is learned too
    return partial(positions.LearnedPositions, grid, num_extra, width)


# (grid, tokens in front, width, scale) -> a factory
POSITIONS: dict[str, Callable[..., Callable[..., nnx.Module]]] = {
    "none": _fixed(positions.no_positions),
    "sincos_3d": _fixed(positions.sincos_3d),
    "sincos_2d": _fixed(positions.sincos_2d),
    "sincos_2d_and_time": _fixed(positions.sincos_2d_and_time),
    "learned": _learned,
}


@dataclasses.dataclass(frozen=True)
class Telling:
    """One way to tell: the branch it wants, and how it delivers.

    reads_context: blocks get a cross-attention branch. extra: vectors become tokens.
    """

    branch: type[PreNorm] | None
    delivery: Callable[..., nnx.Module]
    reads_context: bool = False
    extra: bool = False


CONDITIONINGS: dict[str, Telling] = {
    "adaln_zero": Telling(Gated, told.AdaLN),
    "adaln": Telling(Modulated, told.AdaLN),
    "adaln_single": Telling(Gated, told.AdaLNSingle),
    "cross_attention": Telling(None, told.AsContext, reads_context=True),
    "in_context": Telling(None, told.AsTokens, extra=True),
}


@dataclasses.dataclass(frozen=True)
class Reading:
    """How text or given frames enter: as tokens in front of the patches, as context,
    pooled with the other vectors, or (frames) joined to those that are generated."""

    tokens_as: str | None = None
    pooled: bool = False
    joined: bool = False

    @property
    def told(self) -> bool:
        """Whether there is a part for it at all."""
        return self.pooled or self.joined or self.tokens_as is not None


TEXTS: dict[str, Reading] = {
    "none": Reading(),
    "cross_attention": Reading(tokens_as="context"),
    "tokens": Reading(tokens_as="tokens"),
    "pooled": Reading(pooled=True),
}
FRAMES: dict[str, Reading] = {
    "none": Reading(),
    "concat": Reading(joined=True),
    "cross_attention": Reading(tokens_as="context"),
    "pooled": Reading(pooled=True),
}


TIMES: dict[str, Callable[..., Callable[..., nnx.Module]]] = {
    "sinusoids_256": lambda width, scale, constrain: partial(
        embeddings.TimeEmbedding, width, scale=scale, constrain=constrain
    ),
    "sinusoids_width": lambda width, scale, constrain: partial(
        embeddings.TimeEmbedding,
        width,
        scale=scale,
        dims=width,
        hidden=4 * width,
        constrain=constrain,
    ),
    "none": lambda width, scale, constrain: partial(
        embeddings.TimeSinusoids, width, scale=scale
    ),
}
SKIP_NORMS: dict[str, Callable[[int], Callable[..., nnx.Module]]] = {
    "pre_norm": lambda width: partial(NoNorm, width),
    "post_norm": lambda width: partial(LayerNorm, width, epsilon=1e-5),
}


@dataclasses.dataclass(frozen=True)
class Stacking:
    """make: `(phases, values, dtype=, constrain=) -> a factory`. paired: blocks are
    equal and stand in pairs around one in the middle."""

    make: Callable[..., Callable[..., nnx.Module]]
    paired: bool = False


def _straight(
    phases: Sequence[BlockFactory],
    values: Mapping[str, Any],
    *,
    dtype: DTypeLike,
    constrain: types.Constrain,
) -> Callable[..., nnx.Module]:
    scan = {"depth": values["depth"], "remat": REMATS[values["remat"]]}
    return partial(Straight, phases, **scan, dtype=dtype, constrain=constrain)


def _long_skips(
    phases: Sequence[BlockFactory],
    values: Mapping[str, Any],
    *,
    dtype: DTypeLike,
    constrain: types.Constrain,
) -> Callable[..., nnx.Module]:
    (make_block,) = phases
    return partial(
        LongSkips,
        make_block,
        depth=values["depth"],
        remat=REMATS[values["remat"]],
        width=values["width"],
        skip_norm=SKIP_NORMS[values["block"]](values["width"]),
        kernel_init=INITS[values["init"]],
        dtype=dtype,
        constrain=constrain,
    )


STACKS: dict[str, Stacking] = {
    "straight": Stacking(_straight),
    "long_skips": Stacking(_long_skips, paired=True),
}


# What enters and leaves a model -> the choices that it goes with; the others are free.
STREAMS: dict[str, Mapping[str, Sequence[str]]] = {
    "video": {},
    "image_text": {
        "conditioning": ("in_context",),
        "text": ("none",),
        "frames": ("none",),
        "mixing": ("joint",),
    },
}

# Every value that names a line of a table, by its key.
CHOICES: dict[str, Mapping[str, Any]] = {
    "conditioning": CONDITIONINGS,
    "mixing": MIXINGS,
    "stack": STACKS,
    "streams": STREAMS,
    "text": TEXTS,
    "frames": FRAMES,
    "norm": NORMS,
    "block": UNMODULATED,
    "gelu": GELUS,
    "qk_norm": QK_NORMS,
    "qk_norm_width": QK_WIDTHS,
    "positions": POSITIONS,
    "remat": REMATS,
    "time": embeddings.TIME_SCALES,
    "time_mlp": TIMES,
    "init": INITS,
}
