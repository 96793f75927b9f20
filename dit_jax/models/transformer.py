"""The video diffusion transformer: patches and positions, a stack of blocks, a head.

It has three seams, each filled by a part that is handed in: how conditioning enters
(`conditioning`), what a token attends to (the layers of the blocks) and how blocks are
stacked (`stacks`). `presets` fills them from a table; nothing here knows the variants.
"""

from collections.abc import Callable

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, DTypeLike, Float

from dit_jax import types
from dit_jax.models.attention import Scene
from dit_jax.models.patches import (
    Head,
    patch_embedding,
    patchify,
    token_grid,
    unpatchify,
)
from dit_jax.models.positions import Triple, additive_positions


class VideoTransformer(nnx.Module):
    """A denoiser `(x, t, conditioning) -> prediction`; it knows no noise schedule.

    latent_shape: (T, H, W, C) to be expected; only C is binding, since positions are
    computed for the grid at hand.
    conditioning, stack: factories `(rngs=...)` of the parts.
    position_scale: factor of the additive sin-cos positions; 0 leaves them out.
    """

    def __init__(
        self,
        *,
        latent_shape: tuple[int, int, int, int],
        patch: Triple,
        width: int,
        conditioning: Callable[..., nnx.Module],
        stack: Callable[..., nnx.Module],
        position_scale: float,
        out_channels: int | None = None,
        dtype: DTypeLike = jnp.float32,
        constrain: types.Constrain = types.keep_placement,
        rngs: nnx.Rngs,
    ):
        *size, channels = latent_shape
        token_grid(size, patch)  # refuses before any parameter is made
        out_channels = out_channels or channels
        self.embedding = patch_embedding(channels, patch, width, dtype=dtype, rngs=rngs)
        self.conditioning = conditioning(rngs=rngs)
        self.stack = stack(rngs=rngs)
        self.head = Head(out_channels, patch, width, dtype=dtype, rngs=rngs)
        self.patch = patch
        self.position_scale = position_scale
        self.constrain = constrain

    def __call__(
        self,
        x: Float[Array, "B T H W C"],
        t: Float[Array, "..."],
        conditioning: types.Conditioning,
    ) -> Float[Array, "B T H W out"]:
        """float32. t: [B], in [0, 1], 0 = data and 1 = noise.

        Raises ValueError for a t of another shape, for conditioning that the model has
        no part for, and for a size that the patch does not divide.
        """
        if t.shape != x.shape[:1]:
            raise ValueError(
                f"t has shape {t.shape}, but this model takes one time per clip, "
                f"{x.shape[:1]}; average or broadcast it first, or choose a "
                "model.preset with times per frame"
            )
        grid = token_grid(x.shape[1:4], self.patch)
        tokens = self.embed(x, grid)
        modulations = self.conditioning(t, conditioning)
        tokens = self.stack(tokens, modulations.layers, Scene(grid))
        return unpatchify(self.head(tokens, modulations.head), grid, self.patch)

    def embed(
        self, x: Float[Array, "B T H W C"], grid: Triple
    ) -> Float[Array, "B N D"]:
        tokens = self.embedding(patchify(x, self.patch))
        if self.position_scale:
            positions = additive_positions(grid, tokens.shape[-1])
            shift = (self.position_scale * positions).astype(tokens.dtype)
            tokens = tokens + shift[None]
        return self.constrain(tokens, ("batch", "tokens", "embed"))
