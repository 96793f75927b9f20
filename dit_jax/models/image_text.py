"""UniDiffuser's network (arXiv:2303.06555): image and text in one sequence of tokens.

Two streams with a time of their own: the image, as latents beside one vector of an
image encoder, and the text. Everything is noisy and everything is predicted, so one
model holds the joint, both marginals and both conditional distributions.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, DTypeLike, Float, Int

from dit_jax import types
from dit_jax.models.conditioning import refuse
from dit_jax.models.patches import patchify, token_grid, unpatchify
from dit_jax.models.positions import Triple
from dit_jax.models.primitives import Initializer, linear
from dit_jax.models.scene import Scene

Factory = Callable[..., nnx.Module]
NUM_TIMES = 2


class ImageTextTransformer(nnx.Module):
    """A denoiser of `{"image": {"latents", "clip"}, "text"}`.

    latents [B, T, H, W, C], clip [B, 1, clip_dims], text [B, text_length, text_dims];
    t is `{"image", "text"}`, each [B] in [0, 1]. The prediction has the structure of
    the input. Tokens stand as time of image, time of text, data type (where the model
    has one), text, clip, patches. Other parts are factories `(rngs=...)`.
    """

    def __init__(
        self,
        *,
        latent_shape: tuple[int, int, int, int],
        patch: Triple,
        text_shape: tuple[int, int],
        clip_dims: int,
        embedding: Factory,
        time: Factory,
        data_type: Factory | None,
        positions: Factory,
        stack: Factory,
        norm: Factory,
        out_channels: int,
        width: int,
        depth: int,
        kernel_init: Initializer,
        dtype: DTypeLike,
        constrain: types.Constrain,
        rngs: nnx.Rngs,
    ):
        token_grid(latent_shape[:3], patch)  # refuses before any parameter is made
        make = partial(linear, kernel_init=kernel_init, dtype=dtype, rngs=rngs)
        _, text_dims = text_shape
        patch_dims = math.prod(patch) * out_channels
        self.time_image, self.time_text = time(rngs=rngs), time(rngs=rngs)
        self.data_type = None if data_type is None else data_type(rngs=rngs)
        self.embed_text = make(text_dims, width, ("text", "embed"))
        self.embed_clip = make(clip_dims, width, ("text", "embed"))
        self.embedding = embedding(rngs=rngs)
        self.positions = positions(rngs=rngs)
        self.stack = stack(rngs=rngs)
        self.norm = norm(rngs=rngs)
        self.out_text = make(width, text_dims, ("embed", "text"))
        self.out_clip = make(width, clip_dims, ("embed", "text"))
        self.out = make(width, patch_dims, ("embed", "patch_out"))
        self.patch, self.constrain = patch, constrain
        self.depth, self.text_shape, self.clip_dims = depth, text_shape, clip_dims

    @property
    def reads(self) -> frozenset[str]:
        """The fields of a conditioning that the model uses."""
        return frozenset() if self.data_type is None else frozenset({"label"})

    def inputs(self, latent_shape: tuple[int, int, int, int]) -> tuple[Any, Any]:
        """Shapes of x and t of one example."""
        image = {
            "latents": jax.ShapeDtypeStruct((1, *latent_shape), jnp.float32),
            "clip": jax.ShapeDtypeStruct((1, 1, self.clip_dims), jnp.float32),
        }
        text = jax.ShapeDtypeStruct((1, *self.text_shape), jnp.float32)
        time = jax.ShapeDtypeStruct((1,), jnp.float32)
        return {"image": image, "text": text}, {"image": time, "text": time}

    def __call__(
        self, x: dict[str, Any], t: dict[str, Any], conditioning: types.Conditioning
    ) -> dict[str, Any]:
        """float32. conditioning.label is the data type, where the model has one."""
        refuse(conditioning, self.reads)
        latents, clip, text = x["image"]["latents"], x["image"]["clip"], x["text"]
        grid = token_grid(latents.shape[1:4], self.patch)
        with jax.named_scope("embedding"):
            patches = self.embedding(patchify(latents, self.patch))
            texts, clips = self.embed_text(text), self.embed_clip(clip)
        with jax.named_scope("conditioning"):
            times = [
                embed(t[stream], conditioning).astype(patches.dtype)
                for stream, embed in (
                    ("image", self.time_image),
                    ("text", self.time_text),
                )
            ]
        extra = jnp.concatenate([*times, texts, clips], axis=1)
        tokens = self.positions(patches, extra, grid)
        tokens = self._with_type(tokens, conditioning)
        tokens = self.constrain(tokens, ("batch", "tokens", "embed"))
        num_patches = patches.shape[1]
        scene = Scene(grid, tokens.shape[1] - num_patches)
        tokens = self.norm(self.stack(tokens, self._no_modulation(tokens), scene))
        with jax.named_scope("head"):
            return self._read(tokens, text.shape[1], num_patches, grid)

    def _with_type(
        self, tokens: Float[Array, "B N D"], conditioning: types.Conditioning
    ) -> Float[Array, "B more D"]:
        if self.data_type is None:
            return tokens
        times, rest = tokens[:, :NUM_TIMES], tokens[:, NUM_TIMES:]
        label = conditioning.label
        if label is None:
            label = jnp.zeros(len(tokens), jnp.int32)
        kind = self.data_type(label).astype(tokens.dtype)
        return jnp.concatenate([times, kind, rest], axis=1)

    def _no_modulation(self, tokens: Array) -> Float[Array, "L B 1 0 D"]:
        batch, _, width = tokens.shape
        return jnp.zeros((self.depth, batch, 1, 0, width), tokens.dtype)

    def _read(
        self, tokens: Array, text_length: int, num_patches: int, grid: Triple
    ) -> dict[str, Any]:
        first, patches = jnp.split(tokens, [tokens.shape[1] - num_patches], axis=1)
        text, clip = first[:, -text_length - 1 : -1], first[:, -1:]
        latents = unpatchify(self.out(patches), grid, self.patch)
        out = {
            "image": {"latents": latents, "clip": self.out_clip(clip)},
            "text": self.out_text(text),
        }
        return jax.tree.map(lambda leaf: leaf.astype(jnp.float32), out)


class DataType(nnx.Module):
    """A token that says what kind of data an example is, with a position of its own."""

    def __init__(self, num_types: int, width: int, *, rngs: nnx.Rngs):
        draw = nnx.initializers.truncated_normal(0.02)
        self.table = nnx.Param(
            draw(rngs.params(), (num_types, width)), out_sharding=("labels", "embed")
        )
        self.position = nnx.Param(
            draw(rngs.params(), (width,)), out_sharding=("embed",)
        )

    def __call__(self, label: Int[Array, " B"]) -> Float[Array, "B 1 D"]:
        rows = jnp.take(self.table[...], label, axis=0, mode="fill", fill_value=jnp.nan)
        return (rows + self.position[...][None])[:, None]
