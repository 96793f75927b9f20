"""Guidance: wraps a `denoise_fn` and returns one. Notation: `diffusion.processes`."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from dit_jax.diffusion.streams import Streams, Times
from dit_jax.errors import UserError
from dit_jax.types import Conditioning, DenoiseFn


def unconditional(num_classes: int) -> Callable[[Conditioning], Conditioning]:
    """Replaces every label by the null class, `num_classes`, and every text by none (a
    mask of zeros); the rest stays."""

    def drop(conditioning: Conditioning) -> Conditioning:
        label, mask = conditioning.label, conditioning.text_mask
        if label is None and mask is None:
            raise UserError(
                "guidance drops labels and texts but none are given; pass some (texts "
                "with their text_mask) or set guidance to 1.0"
            )
        return dataclasses.replace(
            conditioning,
            label=None if label is None else jnp.full_like(label, num_classes),
            text_mask=None if mask is None else jnp.zeros_like(mask),
        )

    return drop


def classifier_free(
    denoise_fn: DenoiseFn,
    null_conditioning: Callable[[Conditioning], Conditioning],
    guidance: float | Float[Array, ""],
) -> DenoiseFn:
    """uncond + guidance (cond - uncond), from one model call on 2 B rows, float32.

    The number 1.0 returns `denoise_fn` itself; an array of any value keeps both
    branches, so that one compiled program serves all values. It may be applied to any
    prediction, since at one (xt, t) all of them are affine in each other.
    Ho and Salimans 2022, arXiv:2207.12598, eq. 6, where w = guidance - 1.
    """
    if isinstance(guidance, float | int) and guidance == 1.0:
        return denoise_fn

    def guided(xt: Streams, t: Times, conditioning: Conditioning) -> Streams:
        both = denoise_fn(
            _pair(xt, xt),
            _pair(t, t),
            _pair(conditioning, null_conditioning(conditioning)),
        )
        return jax.tree.map(lambda out: _extrapolate(out, guidance), both)

    return guided


def _pair(a: PyTree[Array], b: PyTree[Array]) -> PyTree[Array]:
    """Rows a0 b0 a1 b1 ...: pairs stay together, so a sharded batch need not move."""
    return jax.tree.map(
        lambda x, y: jnp.stack([x, y], axis=1).reshape(-1, *x.shape[1:]), a, b
    )


def _extrapolate(
    out: Float[Array, "B2 ..."], guidance: float | Float[Array, ""]
) -> Float[Array, "B ..."]:
    pairs = out.astype(jnp.float32).reshape(-1, 2, *out.shape[1:])
    cond, uncond = pairs[:, 0], pairs[:, 1]
    return uncond + guidance * (cond - uncond)
