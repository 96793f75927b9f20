"""The video diffusion transformer: patches and positions, a stack of blocks, a head.

It has three seams, each filled by a part that is handed in: how conditioning enters
(`conditioning`), what a token attends to (the layers of the blocks) and how blocks are
stacked (`stacks`). `presets` fills them from a table; nothing here knows the variants.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from dit_jax import types
from dit_jax.models.given_frames import InFront, NotInFront
from dit_jax.models.patches import patchify, token_grid, unpatchify
from dit_jax.models.positions import Triple
from dit_jax.models.scene import Scene

Factory = Callable[..., nnx.Module]
Blocks = Callable[[Array], Array]
Around = Callable[[Blocks, Array, Array | None], Array]
"""`(blocks, tokens, modulations) -> tokens`: what is done with the stack at a call."""


def run_blocks(blocks: Blocks, tokens: Array, modulations: Array | None) -> Array:
    """The stack as it is."""
    del modulations
    return blocks(tokens)


class VideoTransformer(nnx.Module):
    """A denoiser `(x, t, conditioning) -> prediction`; it knows no noise schedule.

    latent_shape: (T, H, W, C) to be expected; only C is binding, since positions are
    computed for the grid at hand.
    Every other part is a factory `(rngs=...)`, see the modules they come from.
    """

    def __init__(
        self,
        *,
        latent_shape: tuple[int, int, int, int],
        patch: Triple,
        given: type[InFront] | type[NotInFront],
        embedding: Factory,
        positions: Factory,
        conditioning: Factory,
        stack: Factory,
        head: Factory,
        after: Factory,
        constrain: types.Constrain = types.keep_placement,
        rngs: nnx.Rngs,
    ):
        token_grid(latent_shape[:3], patch)  # refuses before any parameter is made
        self.given = given(rngs=rngs)
        self.embedding = embedding(rngs=rngs)
        self.positions = positions(rngs=rngs)
        self.conditioning: Any = conditioning(rngs=rngs)
        self.stack = stack(rngs=rngs)
        self.head = head(rngs=rngs)
        self.after = after(rngs=rngs)
        self.patch = patch
        self.constrain = constrain

    @property
    def reads(self) -> frozenset[str]:
        """The fields of a conditioning that it uses."""
        return frozenset({*self.conditioning.reads, *self.given.reads})

    def inputs(
        self, latent_shape: tuple[int, int, int, int]
    ) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
        """Shapes of x and t of one example."""
        return (
            jax.ShapeDtypeStruct((1, *latent_shape), jnp.float32),
            jax.ShapeDtypeStruct((1,), jnp.float32),
        )

    def __call__(
        self,
        x: Float[Array, "B T H W C"],
        t: Float[Array, "..."],
        conditioning: types.Conditioning,
        around: Around = run_blocks,
    ) -> Float[Array, "B T H W out"]:
        """float32. t: [B] or, with patches of one frame, [B, T]; in [0, 1], 0 = data.

        around: calls the stack, or spares it, see `inference.caching`.

        Raises ValueError for a t of another shape, for conditioning that the model has
        no part for, and for a size that the patch does not divide.
        """
        self._check_times(x, t)
        num_frames = x.shape[1]
        x, t, conditioning = self.given(x, t, conditioning)
        grid = token_grid(x.shape[1:4], self.patch)
        with jax.named_scope("conditioning"):
            signals = self.conditioning(t, conditioning)
        with jax.named_scope("embedding"):
            patches = self.embedding(patchify(x, self.patch))
        extra = signals.tokens
        if extra is None:
            extra = jnp.zeros((x.shape[0], 0, patches.shape[-1]), patches.dtype)
        tokens = self.positions(patches, extra, grid)
        tokens = self.constrain(tokens, ("batch", "tokens", "embed"))
        num_extra = extra.shape[1]
        scene = Scene(
            grid,
            num_extra,
            segment_ids=_segments(signals.tokens_mask, tokens),
            context=signals.context,
            context_mask=signals.context_mask,
        )
        blocks = lambda tokens: self.stack(tokens, signals.layers, scene)  # noqa: E731
        tokens = around(blocks, tokens, signals.layers)[:, num_extra:]
        with jax.named_scope("head"):
            patches = self.head(tokens, signals.head)
            out = self.after(unpatchify(patches, grid, self.patch))
        return out[:, -num_frames:]

    def _check_times(self, x: Array, t: Array) -> None:
        per_frame = x.shape[:2] if self.patch[0] == 1 else x.shape[:1]
        if t.shape not in (x.shape[:1], per_frame):
            raise ValueError(
                f"t has shape {t.shape}, but this model takes one time per clip, "
                f"{x.shape[:1]}, or, where a patch is one frame, one per frame, "
                f"{x.shape[:2]}; average or broadcast it, or change model.patch"
            )


def _segments(
    mask: Bool[Array, "B K"] | None, tokens: Float[Array, "B N D"]
) -> Int[Array, "B N"] | None:
    """Extra tokens that are not there are a segment of their own."""
    if mask is None:
        return None
    missing = jnp.where(mask, 0, -1)
    return jnp.pad(missing, ((0, 0), (0, tokens.shape[1] - mask.shape[1])))
