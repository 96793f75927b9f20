"""Arithmetic over streams: a bare array, or a dict of arrays (video, audio, ...).

Times match the streams: one array for all of them, or one a stream, each `[B]`, `[B,T]`
or `[B,T,H,W]` and aligned with the data from the left.
"""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

Streams: TypeAlias = PyTree[Float[Array, "B ..."]]
"""Latents, noise or predictions: a bare array is the tree of one leaf."""

States: TypeAlias = PyTree[Float[Array, "..."]]
"""Streams, or many of them stacked along a first axis."""

Times: TypeAlias = PyTree[Float[Array, "..."]]
"""Diffusion times in [0, 1], a prefix of the tree they belong to."""


def align(t: Float[Array, "..."], x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`t` in float32 with trailing axes of size 1, ready to multiply `x`.

    Raises ValueError when the axes of `t` are not the leading axes of `x`.
    """
    if t.shape != x.shape[: t.ndim]:
        raise ValueError(
            f"times of shape {t.shape} do not match the leading axes of data of shape "
            f"{x.shape}; give them as [B], [B,T] or [B,T,H,W]"
        )
    return jnp.reshape(t, t.shape + (1,) * (x.ndim - t.ndim)).astype(jnp.float32)


def split_variance(out: Streams, x: Streams) -> tuple[Streams, Streams | None]:
    """A network's output as what it predicts and, where it has more channels than `x`,
    what it says of the variance, else None."""
    predicted = jax.tree.map(lambda o, leaf: o[..., : leaf.shape[-1]], out, x)
    rest = jax.tree.map(lambda o, leaf: o[..., leaf.shape[-1] :], out, x)
    is_there = all(leaf.shape[-1] for leaf in jax.tree.leaves(rest))
    return predicted, rest if is_there else None


def over_streams(
    fn: Callable[..., Array], t: Times, x: Streams, *rest: Streams
) -> Streams:
    """`fn(t, x, *rest)` on every stream, with `t` aligned to it."""
    times = jax.tree.broadcast(t, x)
    return jax.tree.map(
        lambda time, leaf, *others: fn(align(time, leaf), leaf, *others),
        times,
        x,
        *rest,
    )


def example_mean(
    values: Streams, mask: Float[Array | np.ndarray, "B ..."] | None
) -> Float[Array, " B"]:
    """Mean of each example over all streams, where `mask` (1 = generate) is not 0.

    The mask broadcasts over axes of size 1. An example without masked elements
    gives 0.
    """
    if mask is None:
        kept = jax.tree.map(jnp.ones_like, values)
    else:
        kept = jax.tree.map(
            lambda leaf: jnp.broadcast_to(mask, leaf.shape).astype(leaf.dtype), values
        )
    # where, not times: an error at a given position may be inf, and inf * 0 is nan.
    masked = jax.tree.map(lambda leaf, keep: jnp.where(keep > 0, leaf, 0), values, kept)
    return _example_sum(masked) / jnp.maximum(_example_sum(kept), 1)


def _example_sum(values: Streams) -> Float[Array, " B"]:
    sums = [jnp.sum(v, axis=tuple(range(1, v.ndim))) for v in jax.tree.leaves(values)]
    return sum(sums[1:], start=sums[0])
