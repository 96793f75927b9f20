"""The joint spacetime transformer as one part per seam.

adaLN-Zero conditioning; joint attention with per-head RMS QK-norm and 3-D rotary
positions beside additive ones (with rotary positions alone small models mix up where a
patch belongs); a straight, scanned stack.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from flax import nnx
from jaxtyping import DTypeLike

from dit_jax import types
from dit_jax.errors import UserError
from dit_jax.models.attention import SelfAttention
from dit_jax.models.blocks import MLP, Block, LayerFactory
from dit_jax.models.conditioning import AdaLNZero
from dit_jax.models.positions import Rotary, axis_split
from dit_jax.models.primitives import NoNorm, RMSNorm
from dit_jax.models.stacks import Straight
from dit_jax.models.transformer import VideoTransformer


def defaults(*, depth: int, width: int, num_heads: int) -> dict[str, Any]:
    """Every value that a config may override; None is filled in by `complete`."""
    return {
        "patch": None,  # from the preset's name
        "width": width,
        "depth": depth,
        "num_heads": num_heads,
        "mlp_ratio": 4.0,
        "qk_norm": True,
        "rope_split": None,  # channels of a head for t, h, w
        "rope_theta": 1e4,
        "position_scale": 1.0,  # additive sin-cos positions; 0 leaves them out
        "label_scale": 1.0,  # standard deviation of the label table at init
        "remat": True,
        "attention": "xla",
    }


def complete(values: Mapping[str, Any]) -> dict[str, Any]:
    """Derived values filled in and contradictions refused."""
    width, num_heads = values["width"], values["num_heads"]
    if min(width, num_heads, values["depth"]) < 1 or width % num_heads:
        raise UserError(
            f"model.width {width}, model.num_heads {num_heads} and model.depth "
            f"{values['depth']} do not make a model; change them so that all are "
            "positive and the heads divide the width"
        )
    _check_numbers(values)
    head_dim = width // num_heads
    split = tuple(values["rope_split"] or axis_split(head_dim))
    if sum(split) != head_dim or any(dims % 2 or dims < 0 for dims in split):
        raise UserError(
            f"model.rope_split {split} does not fit heads of {head_dim} channels; "
            f"change it to even numbers that sum to {head_dim}, such as "
            f"{axis_split(head_dim)}"
        )
    return {**values, "rope_split": split}


def _check_numbers(values: Mapping[str, Any]) -> None:
    """UserError for sizes that divide by zero or leave no model."""
    if min(values["patch"]) < 1:
        raise UserError(
            f"model.patch is {tuple(values['patch'])}; change it to three whole "
            "numbers (t, h, w) of at least 1"
        )
    if round(values["width"] * values["mlp_ratio"]) < 1:
        raise UserError(
            f"model.mlp_ratio is {values['mlp_ratio']}; change it to a number above 0, "
            "such as 4"
        )
    if values["rope_theta"] <= 0:
        raise UserError(
            f"model.rope_theta is {values['rope_theta']}; change it to a number above "
            "0, such as 10000"
        )
    if values["label_scale"] < 0:
        raise UserError(
            f"model.label_scale is {values['label_scale']}; change it to at least 0"
        )


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
) -> VideoTransformer:
    width, depth = values["width"], values["depth"]
    placed = {"width": width, "dtype": dtype, "constrain": constrain}
    layers: dict[str, LayerFactory] = {
        "attention": partial(
            SelfAttention,
            num_heads=values["num_heads"],
            attention=attention,
            norm=RMSNorm if values["qk_norm"] else NoNorm,
            rotary=Rotary(values["rope_split"], values["rope_theta"]),
            **placed,
        ),
        "mlp": partial(MLP, hidden=round(width * values["mlp_ratio"]), **placed),
    }
    return VideoTransformer(
        latent_shape=latent_shape,
        patch=values["patch"],
        conditioning=partial(
            AdaLNZero,
            width=width,
            depth=depth,
            num_classes=num_classes,
            label_scale=values["label_scale"],
            constrain=constrain,
        ),
        stack=partial(
            Straight,
            partial(Block, layers),
            depth=depth,
            remat=values["remat"],
            constrain=constrain,
        ),
        position_scale=values["position_scale"],
        out_channels=out_channels,
        rngs=rngs,
        **placed,
    )
