"""The conditioning part of a design: what is embedded, and how it is delivered."""

from functools import partial

from dit_jax.models import conditioning as told
from dit_jax.models import embeddings
from dit_jax.models.choices import TIMES
from dit_jax.models.designs.recipe import Factory, Recipe
from dit_jax.models.given_frames import FrameTokens, PooledFrames
from dit_jax.models.values import num_parts


def conditioning(recipe: Recipe) -> Factory:
    shape = {"width": recipe.width, "depth": recipe.values["depth"]}
    delivery = partial(recipe.telling.delivery, **shape)
    if recipe.telling.branch is not None:
        parts = num_parts(recipe.values)
        delivery = partial(delivery, parts=parts, constrain=recipe.constrain)
    return partial(told.Conditioner, _vectors(recipe), delivery, _sequences(recipe))


def time(recipe: Recipe) -> Factory:
    scale = embeddings.TIME_SCALES[recipe.values["time"]]
    make = TIMES[recipe.values["time_mlp"]]
    return make(recipe.width, scale, recipe.constrain)


def _vectors(recipe: Recipe) -> dict[str, Factory]:
    values = recipe.values
    vectors: dict[str, Factory] = {}
    if values["labels"]:
        vectors["label"] = partial(
            embeddings.LabelEmbedding,
            recipe.num_classes,
            recipe.width,
            scale=values["label_scale"],
            constrain=recipe.constrain,
        )
    vectors["time"] = time(recipe)
    if recipe.text.pooled:
        vectors["pooled"] = partial(
            embeddings.PooledText, values["text_dims"], recipe.width
        )
    if recipe.frames.pooled:
        vectors["frames"] = _of_frames(PooledFrames, recipe)
    return vectors


def _sequences(recipe: Recipe) -> dict[str, tuple[Factory, str]]:
    values = recipe.values
    sequences: dict[str, tuple[Factory, str]] = {}
    if recipe.text.tokens_as is not None:
        sizes = (values["text_dims"], values["text_length"], recipe.width)
        text = partial(embeddings.TextTokens, *sizes, dtype=recipe.dtype)
        sequences["text"] = (text, recipe.text.tokens_as)
    if recipe.frames.tokens_as is not None:
        frames = _of_frames(FrameTokens, recipe)
        sequences["frames"] = (frames, recipe.frames.tokens_as)
    return sequences


def _of_frames(part: type, recipe: Recipe) -> Factory:
    sizes = (recipe.channels, recipe.patch, recipe.width)
    return partial(part, *sizes, dtype=recipe.dtype)
