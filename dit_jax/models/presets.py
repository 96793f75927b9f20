"""Named models: one table from a name to its parts and their values.

A name is `<preset>/<pt>x<ph>x<pw>`, e.g. `joint-b/1x2x2`, or `dit-xl/2` for 1x2x2. Any
value of the preset can be overridden; an override of None means the preset's value. In
a config the overrides are the `model.*` keys.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import DTypeLike

from dit_jax import types
from dit_jax.errors import UserError, choose, nearest
from dit_jax.models import designs
from dit_jax.models.attention import ATTENTIONS
from dit_jax.models.cost import Cost
from dit_jax.models.cost import cost as cost_of
from dit_jax.models.mixings import MIXINGS
from dit_jax.models.positions import Triple
from dit_jax.models.values import DEFAULTS, complete

LatentShape = tuple[int, int, int, int]

COUNTED = {"attention": "xla", "remat": "full"}  # what a model is counted with


# What a family does otherwise than `values.DEFAULTS`.
DIT = {
    "qk_norm": "none",
    "rotary": False,
    "positions": "sincos_2d",
    "time": "steps",
    "label_scale": 0.02,
    "learn_sigma": True,
}
SIT = DIT | {"time": "to_data"}
VDT = DIT | {"mixing": "vdt", "positions": "sincos_2d_and_time"}
LATTE = DIT | {"mixing": "interleaved"}
U_VIT = {
    "qk_norm": "none",
    "rotary": False,
    "positions": "learned",
    "mixing": "joint",
    "conditioning": "in_context",
    "stack": "long_skips",
    "norm": "affine_1e-5",
    "qkv_bias": False,
    "gelu": "exact",
    "time": "up_to_999",
    "time_mlp": "none",
    "label_scale": 0.02,
    "init": "truncated",
    "zero_init_head": False,
    "final_conv": True,
}
UNIDIFFUSER = U_VIT | {
    "streams": "image_text",
    "time": "steps_from_1",
    "block": "post_norm",
    "final_conv": False,
    "text_dims": 64,
    "text_length": 77,
}
WINDOW = {"mixing": "windows"}

# (depth, width, num_heads)
DIT_SIZES = {
    "s": (12, 384, 6),
    "b": (12, 768, 12),
    "l": (24, 1024, 16),
    "xl": (28, 1152, 16),
}
VIDEO_SIZES = {
    "tiny": (6, 192, 3),
    **DIT_SIZES,
    "1.3b": (34, 1792, 14),
    "3b": (38, 2560, 20),
    "14b": (44, 5120, 40),
}
U_VIT_SIZES = {
    "s": (13, 512, 8),
    "m": (17, 768, 12),
    "l": (21, 1024, 16),
    "h": (29, 1152, 16),
}
UNIDIFFUSER_SIZE = (31, 1536, 24)


def _family(
    name: str, sizes: Mapping[str, tuple[int, int, int]], values: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    return {
        f"{name}-{size}": {
            **DEFAULTS,
            **values,
            "depth": depth,
            "width": width,
            "num_heads": num_heads,
        }
        for size, (depth, width, num_heads) in sizes.items()
    }


PRESETS: dict[str, dict[str, Any]] = {
    **_family("joint", VIDEO_SIZES, {}),
    **_family("window", VIDEO_SIZES, WINDOW),
    **_family("dit", DIT_SIZES, DIT),
    **_family("sit", DIT_SIZES, SIT),
    # VDT's L has the width of DiT's XL
    **_family("vdt", {"s": DIT_SIZES["s"], "l": DIT_SIZES["xl"]}, VDT),
    **_family("latte", DIT_SIZES, LATTE),
    **_family("uvit", U_VIT_SIZES, U_VIT),
    **_family("unidiffuser", {"v0": UNIDIFFUSER_SIZE}, UNIDIFFUSER),
    **_family(
        "unidiffuser", {"v1": UNIDIFFUSER_SIZE}, UNIDIFFUSER | {"data_type": True}
    ),
}
# As published: these have one shared projection, or 40 % of them would be modulation.
for large in ("1.3b", "3b", "14b"):
    for family in ("joint", "window"):
        PRESETS[f"{family}-{large}"]["conditioning"] = "adaln_single"
PRESETS["uvit-h"]["final_conv"] = False
PRESETS["uvit-h"]["time"] = "steps_from_1"  # of Stable Diffusion's process


def resolve(name: str, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Every value of the model, overrides applied, as JSON can hold them.

    `resolve(name, resolve(name, overrides))` changes nothing. UserError for an unknown
    preset, key or kind of value, naming the nearest.
    """
    values = _resolve(name, overrides or {})
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in values.items()
    }


def build(
    name: str,
    *,
    latent_shape: LatentShape,
    num_classes: int,
    rngs: nnx.Rngs,
    out_channels: int | None = None,
    attention: str | types.Attention | None = None,
    dtype: DTypeLike = jnp.float32,
    constrain: types.Constrain = types.keep_placement,
    **overrides: Any,
) -> designs.Model:
    """A model with fresh parameters, always float32.

    latent_shape: (T, H, W, C). num_classes: 0 for a model without labels. out_channels:
    C unless given. attention: a name of `ATTENTIONS` or a function of its type. dtype:
    what the model computes in.
    """
    if attention is None or isinstance(attention, str):
        overrides["attention"] = attention
    values = _resolve(name, overrides)
    if attention is None or isinstance(attention, str):
        attention = ATTENTIONS[values["attention"]]
    return designs.build(
        values,
        latent_shape=latent_shape,
        num_classes=num_classes,
        out_channels=out_channels,
        attention=constrain.attention(attention),
        dtype=dtype,
        constrain=constrain,
        rngs=rngs,
    )


def cost(
    name: str,
    latent_shape: LatentShape,
    *,
    num_classes: int,
    out_channels: int | None = None,
    given_frames: int = 0,
    **overrides: Any,
) -> Cost:
    """Parameters and multiply-adds of `build` with the same arguments.

    given_frames: how many of the clip's latent frames are told and not generated.
    Attention is counted in its plain form, whose products every other form computes.
    """
    overrides = {**overrides, **COUNTED}
    model = nnx.eval_shape(
        lambda: build(
            name,
            latent_shape=latent_shape,
            num_classes=num_classes,
            rngs=nnx.Rngs(0),
            out_channels=out_channels,
            **overrides,
        )
    )
    counted = cost_of(model, latent_shape, given_frames)
    repeated = _repeated(_resolve(name, overrides), latent_shape)
    return dataclasses.replace(counted, repeated_macs=repeated)


def _repeated(values: Mapping[str, Any], latent_shape: LatentShape) -> int:
    """Latte's reference projects one modulation for every frame of its spatial blocks,
    for every site of its temporal blocks, and for every frame of the head."""
    if not MIXINGS[values["mixing"]].repeats_modulation:
        return 0
    frames, sites = latent_shape[0], math.prod(latent_shape[1:3])
    sites //= math.prod(values["patch"][1:])
    once = values["width"] ** 2
    pairs = values["depth"] // 2
    return once * (6 * pairs * (frames + sites - 2) + 2 * (frames - 1))


def _resolve(name: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    base, _, patch = name.partition("/")
    preset = choose(PRESETS, base, "model.preset")
    values = {**preset, "patch": _parse_patch(name, patch)}
    for key, value in overrides.items():
        if key not in values:
            raise UserError(
                f"model.{key} is no value of preset {base!r}, which has "
                f"{', '.join(sorted(values))}{nearest(key, values)}"
            )
        if value is not None:
            values[key] = _like(values[key], value, f"model.{key}")
    return complete(values)


def _parse_patch(name: str, patch: str) -> Triple:
    parts = patch.split("x")
    if len(parts) == 1:  # of one frame, as DiT writes it
        parts = ["1", *parts, *parts]
    if len(parts) != 3 or not all(part.isdigit() and int(part) for part in parts):
        base = name.partition("/")[0]
        raise UserError(
            f"model.preset {name!r} has no patch of <side> or "
            f"<frames>x<height>x<width>; change it to, for example, '{base}/2' or "
            f"'{base}/1x2x2'"
        )
    t, h, w = map(int, parts)
    return t, h, w


def _like(old: Any, new: Any, key: str) -> Any:
    """`new` as the kind of value that `old` is; None and tuples are int triples."""
    if old is None or isinstance(old, tuple):
        if (
            isinstance(new, (tuple, list))
            and len(new) == 3
            and all(type(number) is int for number in new)
        ):
            return tuple(new)
        raise UserError(f"{key} is {new!r}; change it to three whole numbers (t, h, w)")
    if isinstance(old, float) and type(new) is int:
        return float(new)
    if isinstance(old, float) and type(new) is float and not math.isfinite(new):
        raise UserError(f"{key} is {new}; change it to a finite number")
    if type(new) is not type(old):
        raise UserError(
            f"{key} is {new!r}; change it to a value of type {type(old).__name__}"
        )
    return new
