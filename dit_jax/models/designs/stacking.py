"""The stack of a design: its blocks, their branches, and the layers in them."""

from functools import partial
from typing import Any

from flax import nnx

from dit_jax.models.attention import CrossAttention, Followed, SelfAttention
from dit_jax.models.blocks import (
    MLP,
    AddTime,
    Block,
    BranchFactory,
    LayerFactory,
    PreNorm,
)
from dit_jax.models.choices import (
    GELUS,
    INITS,
    QK_NORMS,
    QK_WIDTHS,
    STACKS,
    UNMODULATED,
)
from dit_jax.models.designs.recipe import Factory, Recipe
from dit_jax.models.mixings import MIXINGS, Attending
from dit_jax.models.positions import Rotary, no_rotary
from dit_jax.models.primitives import LayerNorm, PlainNorm


def stack(recipe: Recipe) -> Factory:
    values = recipe.values
    blocks = [partial(Block, branches) for branches in _phases(recipe)]
    make = STACKS[values["stack"]].make
    return make(blocks, values, dtype=recipe.dtype, constrain=recipe.constrain)


def _phases(recipe: Recipe) -> list[dict[str, BranchFactory]]:
    """The branches of the blocks that take turns."""
    mixing = MIXINGS[recipe.values["mixing"]]
    phases = []
    for number, attentions in enumerate(mixing.phases(recipe.values)):
        branches: dict[str, BranchFactory] = {}
        if mixing.time_at == number:
            branches["time"] = partial(AddTime, at=number)
        for name, attending in attentions.items():
            branches[name] = _attending(recipe, attending)
        if recipe.telling.reads_context:
            branches["conditioning"] = _cross(recipe)
        elif "context" in (recipe.text.tokens_as, recipe.frames.tokens_as):
            branches["context"] = _cross(recipe)
        branches["mlp"] = _branch(recipe, _mlp(recipe))
        phases.append(branches)
    return phases


def _branch(recipe: Recipe, layer: LayerFactory) -> BranchFactory:
    """As the conditioning wants it."""
    if recipe.telling.branch is None:
        return partial(UNMODULATED[recipe.values["block"]], layer, norm=recipe.norm)
    norm = partial(PlainNorm, recipe.width)
    return partial(recipe.telling.branch, layer, norm=norm)


def _mlp(recipe: Recipe) -> LayerFactory:
    return partial(
        MLP,
        hidden=int(recipe.width * recipe.values["mlp_ratio"]),
        gelu=GELUS[recipe.values["gelu"]],
        **recipe.placed,
    )


def _attending(recipe: Recipe, attending: Attending) -> BranchFactory:
    values = recipe.values
    rotary = Rotary(tuple(values["rope_split"]), values["rope_theta"])
    layer: LayerFactory = partial(
        SelfAttention,
        attention=recipe.attention,
        pattern=attending.pattern,
        rotary=rotary if values["rotary"] else no_rotary,
        **_heads(recipe),
    )
    if attending.followed:
        zeros = nnx.initializers.zeros_init()
        layer = partial(
            Followed,
            layer,
            width=recipe.width,
            kernel_init=zeros
            if values["temporal_zero_init"]
            else INITS[values["init"]],
            dtype=recipe.dtype,
        )
    if attending.modulated:
        return _branch(recipe, layer)
    return partial(PreNorm, layer, norm=partial(LayerNorm, recipe.width, epsilon=1e-5))


def _cross(recipe: Recipe) -> BranchFactory:
    layer = partial(CrossAttention, **_heads(recipe))
    return partial(PreNorm, layer, norm=partial(LayerNorm, recipe.width))


def _heads(recipe: Recipe) -> dict[str, Any]:
    """What self- and cross-attention have in common."""
    values = recipe.values
    norm_width = QK_WIDTHS[values["qk_norm_width"]]
    return {
        "num_heads": values["num_heads"],
        "norm": QK_NORMS[values["qk_norm"]],
        "norm_width": norm_width(recipe.width, values["num_heads"]),
        "qkv_bias": values["qkv_bias"],
        **recipe.placed,
    }
