"""How a model is told the clean frames that come before those it generates.

Three ways, of VDT (arXiv:2305.13311, section 3.3): in front of the noisy frames, as
the context that cross-attention reads, or pooled into one vector beside the time. Any
number of latent frames may be given, also none.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, DTypeLike, Float

from dit_jax import types
from dit_jax.models.patches import patchify, token_grid
from dit_jax.models.positions import Triple, sincos_3d
from dit_jax.models.primitives import linear

Latents = Float[Array, "B T H W C"]
Longer = Float[Array, "B T_all H W C"]
Times = Float[Array, "..."]
Told = types.Conditioning


class InFront(nnx.Module):
    """Given frames are the first of the sequence; only their place marks them."""

    reads = ("frames",)

    def __init__(self, *, rngs: nnx.Rngs):
        del rngs

    def __call__(
        self, x: Latents, t: Times, conditioning: Told
    ) -> tuple[Longer, Times, Told]:
        """Where every frame has its own time, that of a given one is 0."""
        frames = conditioning.frames
        if frames is None:
            return x, t, conditioning
        if t.ndim == 2:
            t = jnp.concatenate([jnp.zeros(frames.shape[:2], t.dtype), t], axis=1)
        rest = dataclasses.replace(conditioning, frames=None)
        return jnp.concatenate([frames, x], axis=1), t, rest


class NotInFront(nnx.Module):
    """Noisy frames alone; given ones go another way, or nowhere."""

    reads = ()

    def __init__(self, *, rngs: nnx.Rngs):
        del rngs

    def __call__(
        self, x: Latents, t: Times, conditioning: Told
    ) -> tuple[Longer, Times, Told]:
        return x, t, conditioning


class FrameTokens(nnx.Module):
    """Patches of the given frames with positions in space and time, as a context."""

    reads = ("frames",)

    def __init__(
        self,
        channels: int,
        patch: Triple,
        width: int,
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        axes = ("patch_in", "embed")
        self.embed = linear(
            math.prod(patch) * channels, width, axes, dtype=dtype, rngs=rngs
        )
        self.patch, self.width = patch, width

    def __call__(
        self, t: Times, conditioning: Told
    ) -> tuple[Float[Array, "B K D"], Bool[Array, "B K"]]:
        """(tokens, mask); without given frames one token that nobody sees."""
        frames = conditioning.frames
        if frames is None:
            tokens = jnp.zeros((t.shape[0], 1, self.width))
            return tokens, jnp.zeros(tokens.shape[:2], bool)
        grid = token_grid(frames.shape[1:4], self.patch)
        tokens = self.embed(patchify(frames, self.patch))
        tokens = tokens + sincos_3d(grid, self.width)[None].astype(tokens.dtype)
        return tokens, jnp.ones(tokens.shape[:2], bool)


class PooledFrames(nnx.Module):
    """One vector of the given frames: the mean of their activated tokens, mapped.

    The paper leaves the encoder open. Without given frames the vector is 0.
    """

    reads = ("frames",)

    def __init__(
        self,
        channels: int,
        patch: Triple,
        width: int,
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        self.tokens = FrameTokens(channels, patch, width, dtype=dtype, rngs=rngs)
        self.out = linear(width, width, ("embed", "stream"), dtype=dtype, rngs=rngs)

    def __call__(self, t: Times, conditioning: Told) -> Float[Array, "B 1 D"]:
        tokens, mask = self.tokens(t, conditioning)
        pooled = self.out(jnp.mean(jax.nn.silu(tokens), axis=1))
        return jnp.where(mask[:, :1], pooled, 0).astype(jnp.float32)[:, None]
