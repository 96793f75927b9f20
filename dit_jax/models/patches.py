"""Latent video <-> tokens, and the two linear maps at the ends of the transformer.

Letters: T H W latent frames, height, width; C channels; a patch is (pt, ph, pw); the
grid is (T / pt, H / ph, W / pw); N tokens = the grid's product, frames slowest.
"""

import math
from collections.abc import Callable, Sequence

import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jaxtyping import Array, DTypeLike, Float

from dit_jax.models.positions import Triple
from dit_jax.models.primitives import Initializer, linear, modulate


def token_grid(size: Sequence[int], patch: Triple) -> Triple:
    """Tokens along (T, H, W); ValueError where the patch does not divide."""
    if any(length % step for length, step in zip(size, patch, strict=True)):
        raise ValueError(
            f"latents of {_by(size)} (frames x height x width) cannot be cut into "
            f"patches of {_by(patch)}; change model.patch to divisors of the latent "
            "size, or the clip's frames and size"
        )
    t, h, w = (length // step for length, step in zip(size, patch, strict=True))
    return t, h, w


def patchify(x: Float[Array, "B T H W C"], patch: Triple) -> Float[Array, "B N P"]:
    """Tokens of P = pt ph pw C numbers, in that order (channels fastest)."""
    t, h, w = token_grid(x.shape[1:4], patch)
    pattern = "B (t pt) (h ph) (w pw) C -> B (t h w) (pt ph pw C)"
    return rearrange(x, pattern, t=t, h=h, w=w)


def unpatchify(
    tokens: Float[Array, "B N P"], grid: Triple, patch: Triple
) -> Float[Array, "B T H W C"]:
    """The inverse of `patchify`."""
    pattern = "B (t h w) (pt ph pw C) -> B (t pt) (h ph) (w pw) C"
    (t, h, w), (pt, ph, pw) = grid, patch
    return rearrange(tokens, pattern, t=t, h=h, w=w, pt=pt, ph=ph, pw=pw)


def patch_embedding(
    channels: int,
    patch: Triple,
    width: int,
    *,
    kernel_init: Initializer,
    dtype: DTypeLike,
    rngs: nnx.Rngs,
) -> nnx.Linear:
    return linear(
        math.prod(patch) * channels,
        width,
        ("patch_in", "embed"),
        kernel_init=kernel_init,
        dtype=dtype,
        rngs=rngs,
    )


class Head(nnx.Module):
    """Norm, modulate where the conditioning says so, project to patches; zero at init.

    DiT, arXiv:2212.09748.
    """

    def __init__(
        self,
        channels: int,
        patch: Triple,
        width: int,
        *,
        norm: Callable[..., nnx.Module],
        kernel_init: Initializer,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        self.norm = norm(rngs=rngs)
        self.out = linear(
            width,
            math.prod(patch) * channels,
            ("embed", "patch_out"),
            kernel_init=kernel_init,
            dtype=dtype,
            rngs=rngs,
        )

    def __call__(
        self, x: Float[Array, "B N D"], modulation: Float[Array, "B G 2 D"] | None
    ) -> Float[Array, "B N P"]:
        """float32, whatever the compute dtype. modulation: shift, scale."""
        x = self.norm(x)
        if modulation is not None:
            x = modulate(x, modulation[:, :, 0], modulation[:, :, 1])
        return self.out(x).astype(jnp.float32)


class FrameConv(nnx.Module):
    """A 3x3 convolution of every frame, U-ViT's last layer."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        self.conv = nnx.Conv(
            channels,
            channels,
            (3, 3),
            kernel_metadata={"out_sharding": (None, None, None, None)},
            bias_metadata={"out_sharding": (None,)},
            rngs=rngs,
        )

    def __call__(self, x: Float[Array, "B T H W C"]) -> Float[Array, "B T H W C"]:
        return self.conv(x.reshape(-1, *x.shape[2:])).reshape(x.shape)


class NoConv(nnx.Module):
    """The convolution that is not there."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        del channels, rngs

    def __call__(self, x: Float[Array, "B T H W C"]) -> Float[Array, "B T H W C"]:
        return x


def _by(numbers: Sequence[int]) -> str:
    return "x".join(str(number) for number in numbers)
