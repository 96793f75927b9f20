"""A model from its completed values: one part per seam, none of which knows a name.

The tables of `choices` turn names into parts here and nowhere else.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from flax import nnx
from jaxtyping import DTypeLike

from dit_jax import types
from dit_jax.models.choices import INITS, POSITIONS
from dit_jax.models.designs.recipe import Factory, Recipe
from dit_jax.models.designs.stacking import stack
from dit_jax.models.designs.telling import conditioning, time
from dit_jax.models.given_frames import InFront, NotInFront
from dit_jax.models.image_text import NUM_TIMES, DataType, ImageTextTransformer
from dit_jax.models.patches import FrameConv, Head, NoConv, patch_embedding, token_grid
from dit_jax.models.primitives import PlainNorm
from dit_jax.models.transformer import VideoTransformer
from dit_jax.models.values import num_extra

Model = VideoTransformer | ImageTextTransformer


def build(
    values: Mapping[str, Any],
    *,
    latent_shape: tuple[int, int, int, int],
    num_classes: int,
    out_channels: int | None,
    attention: types.Attention,
    dtype: DTypeLike,
    constrain: types.Constrain,
    rngs: nnx.Rngs,
) -> Model:
    """The model of completed values, see `presets.build`."""
    recipe = Recipe(values, latent_shape, num_classes, attention, dtype, constrain)
    channels = out_channels or recipe.channels
    channels *= 2 if values["learn_sigma"] else 1
    return MODELS[values["streams"]](recipe, channels)(rngs=rngs)


def _video(recipe: Recipe, out_channels: int) -> Callable[..., VideoTransformer]:
    after = FrameConv if recipe.values["final_conv"] else NoConv
    return partial(
        VideoTransformer,
        latent_shape=recipe.latent_shape,
        patch=recipe.patch,
        given=InFront if recipe.frames.joined else NotInFront,
        embedding=_embedding(recipe),
        positions=_positions(recipe, num_extra(recipe.values)),
        conditioning=conditioning(recipe),
        stack=stack(recipe),
        head=_head(recipe, out_channels),
        after=partial(after, out_channels),
        constrain=recipe.constrain,
    )


def _image_text(
    recipe: Recipe, out_channels: int
) -> Callable[..., ImageTextTransformer]:
    values = recipe.values
    data_type = partial(DataType, recipe.num_classes, recipe.width)
    return partial(
        ImageTextTransformer,
        latent_shape=recipe.latent_shape,
        patch=recipe.patch,
        text_shape=(values["text_length"], values["text_dims"]),
        clip_dims=values["clip_dims"],
        embedding=_embedding(recipe),
        time=time(recipe),
        data_type=data_type if values["data_type"] else None,
        # two times, the text and one vector of the image stand before the patches
        positions=_positions(recipe, NUM_TIMES + values["text_length"] + 1),
        stack=stack(recipe),
        norm=recipe.norm,
        out_channels=out_channels,
        depth=values["depth"],
        **recipe.placed,
    )


# What enters and leaves -> `(recipe, channels out) -> factory`.
MODELS: dict[str, Callable[[Recipe, int], Callable[..., Model]]] = {
    "video": _video,
    "image_text": _image_text,
}


def _embedding(recipe: Recipe) -> Factory:
    return partial(
        patch_embedding,
        recipe.channels,
        recipe.patch,
        recipe.width,
        kernel_init=INITS[recipe.values["init"]],
        dtype=recipe.dtype,
    )


def _positions(recipe: Recipe, extra: int) -> Factory:
    grid = token_grid(recipe.latent_shape[:3], recipe.patch)
    make = POSITIONS[recipe.values["positions"]]
    return make(grid, extra, recipe.width, recipe.values["position_scale"])


def _head(recipe: Recipe, channels: int) -> Factory:
    values, modulated = recipe.values, recipe.telling.branch is not None
    zeros = nnx.initializers.zeros_init()
    return partial(
        Head,
        channels,
        recipe.patch,
        recipe.width,
        norm=partial(PlainNorm, recipe.width) if modulated else recipe.norm,
        kernel_init=zeros if values["zero_init_head"] else INITS[values["init"]],
        dtype=recipe.dtype,
    )
