"""What a model is told, as vectors: time, label, pooled text; and text as tokens.

An embedding is a module `(t, conditioning) -> [B, G, D]`, float32, that names in
`reads` the fields of the conditioning it uses. G is 1, or the number of latent frames
where every frame has its own time.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, DTypeLike, Float

from dit_jax import types
from dit_jax.models.primitives import linear

TIME_DIMS = 256
# These products are a negligible share of the work, and gates must not be rounded.
EXACT = jax.lax.Precision.HIGHEST
# What a denoiser may be told and a model may have no part for.
FIELDS = ("label", "text", "text_mask", "pooled", "mask", "frames")

# t in [0, 1], 0 = data, to what a design feeds its sinusoids.
TIME_SCALES: dict[str, Callable[[Array], Array]] = {
    "continuous": lambda t: 1000 * t,  # the range that the sinusoids were made for
    "steps": lambda t: jnp.round(999 * t),  # the step of a 1000-step process, from 0
    "steps_from_1": lambda t: 1 + jnp.round(999 * t),  # U-ViT H, UniDiffuser
    "up_to_999": lambda t: 999 * t,  # U-ViT on the VP-SDE
    "to_data": lambda t: 1 - t,  # SiT's own time, 1 = data, unscaled
    "as_given": lambda t: t,  # the caller has already converted
}


def time_features(
    t: Float[Array, "*B"], dims: int = TIME_DIMS
) -> Float[Array, "*B dims"]:
    """Cosines, then sines, of t * exp(-ln(1e4) i / half), i < half = dims / 2."""
    half = dims // 2
    frequencies = np.exp(-np.log(1e4) * np.arange(half) / half)
    frequencies = jnp.float32(frequencies).reshape((1,) * t.ndim + (-1,))
    angles = t.astype(jnp.float32)[..., None] * frequencies
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)


def grouped(t: Float[Array, "..."]) -> Float[Array, "B G"]:
    """One time per clip or per frame."""
    return t[:, None] if t.ndim == 1 else t


class TimeEmbedding(nnx.Module):
    """Sinusoids of the scaled time, then a two-layer MLP. scale: of `TIME_SCALES`."""

    reads = ()

    def __init__(
        self,
        width: int,
        *,
        scale: Callable[[Array], Array],
        dims: int = TIME_DIMS,
        hidden: int | None = None,
        constrain: types.Constrain = types.keep_placement,
        rngs: nnx.Rngs,
    ):
        small = nnx.initializers.normal(0.02)
        make = partial(linear, kernel_init=small, precision=EXACT, rngs=rngs)
        hidden = hidden or width
        self.hidden = make(dims, hidden, ("time", "embed"))
        self.out = make(hidden, width, ("embed", "stream"))
        self.scale, self.dims, self.constrain = scale, dims, constrain

    def __call__(
        self, t: Float[Array, "..."], conditioning: types.Conditioning
    ) -> Float[Array, "B G D"]:
        del conditioning
        hidden = self.hidden(time_features(self.scale(grouped(t)), self.dims))
        hidden = self.constrain(hidden, ("batch", None, "embed"))
        return self.constrain(self.out(jax.nn.silu(hidden)), ("batch", None, "embed"))


class TimeSinusoids(nnx.Module):
    """The bare sinusoids, as wide as the model (U-ViT)."""

    reads = ()

    def __init__(self, width: int, *, scale: Callable[[Array], Array], rngs: nnx.Rngs):
        del rngs
        self.width, self.scale = width, scale

    def __call__(
        self, t: Float[Array, "..."], conditioning: types.Conditioning
    ) -> Float[Array, "B G D"]:
        del conditioning
        return time_features(self.scale(grouped(t)), self.width)


class LabelEmbedding(nnx.Module):
    """A table of num_classes + 1 rows, N(0, scale); the last row is the null label."""

    reads = ("label",)

    def __init__(
        self,
        num_classes: int,
        width: int,
        *,
        scale: float,
        constrain: types.Constrain = types.keep_placement,
        rngs: nnx.Rngs,
    ):
        draw = nnx.initializers.normal(scale)(rngs.params(), (num_classes + 1, width))
        self.table = nnx.Param(draw, out_sharding=("labels", "embed"))
        self.num_classes = num_classes
        self.constrain = constrain

    def __call__(
        self, t: Float[Array, "..."], conditioning: types.Conditioning
    ) -> Float[Array, "B G D"]:
        """A missing label is the null label for all rows."""
        label = conditioning.label
        if label is None:
            label = jnp.full(t.shape[:1], self.num_classes, jnp.int32)
        # NaN, not a silently clamped row, for a label that the table does not have
        table = self.constrain(self.table[...], ("labels", "embed"))
        rows = jnp.take(table, label, axis=0, mode="fill", fill_value=jnp.nan)
        return rows[:, None]


class PooledText(nnx.Module):
    """A two-layer MLP of the pooled text; a learned vector where there is no text."""

    reads = ("pooled", "text_mask")

    def __init__(self, text_dims: int, width: int, *, rngs: nnx.Rngs):
        make = partial(linear, precision=EXACT, rngs=rngs)
        self.hidden = make(text_dims, width, ("text", "embed"))
        self.out = make(width, width, ("embed", "stream"))
        draw = nnx.initializers.normal(0.02)(rngs.params(), (width,))
        self.null = nnx.Param(draw, out_sharding=("embed",))

    def __call__(
        self, t: Float[Array, "..."], conditioning: types.Conditioning
    ) -> Float[Array, "B G D"]:
        null = jnp.broadcast_to(self.null[None], (t.shape[0], self.null.shape[0]))
        if conditioning.pooled is None:
            return null[:, None]
        out = self.out(jax.nn.silu(self.hidden(conditioning.pooled)))
        if conditioning.text_mask is not None:
            there = jnp.any(conditioning.text_mask != 0, axis=1)
            out = jnp.where(there[:, None], out, null)
        return out[:, None]


class TextTokens(nnx.Module):
    """A linear map of the text encoder's tokens: `(t, conditioning) -> (tokens, mask)`.

    A row without text has a mask without True.
    """

    reads = ("text", "text_mask")

    def __init__(
        self,
        text_dims: int,
        text_length: int,
        width: int,
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        axes = ("text", "embed")
        self.project = linear(text_dims, width, axes, dtype=dtype, rngs=rngs)
        self.text_length, self.text_dims = text_length, text_dims

    def __call__(
        self, t: Float[Array, "..."], conditioning: types.Conditioning
    ) -> tuple[Float[Array, "B K D"], Bool[Array, "B K"]]:
        text = conditioning.text
        if text is None:
            text = jnp.zeros((t.shape[0], self.text_length, self.text_dims))
            mask = jnp.zeros(text.shape[:2], bool)
        elif conditioning.text_mask is None:
            mask = jnp.ones(text.shape[:2], bool)
        else:
            mask = conditioning.text_mask != 0
        return self.project(text), mask
