"""Named models: one table from a name to its parts and their values.

A name is `<preset>/<pt>x<ph>x<pw>`, e.g. `joint-b/1x2x2`. Any value of the preset can
be overridden; an override of None means the preset's value. In a config the overrides
are the `model.*` keys.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import DTypeLike

from dit_jax import types
from dit_jax.errors import UserError, choose, nearest
from dit_jax.models import joint
from dit_jax.models.attention import ATTENTIONS
from dit_jax.models.cost import Cost, joint_cost
from dit_jax.models.positions import Triple

LatentShape = tuple[int, int, int, int]


@dataclasses.dataclass(frozen=True)
class Preset:
    """values: what may be overridden. complete: fills in and checks the values. build
    and cost: what to do with them."""

    values: Mapping[str, Any]
    complete: Callable[..., dict[str, Any]]
    build: Callable[..., nnx.Module]
    cost: Callable[..., Cost]


def _joint(depth: int, width: int, num_heads: int) -> Preset:
    values = joint.defaults(depth=depth, width=width, num_heads=num_heads)
    return Preset(values, joint.complete, joint.build, joint_cost)


PRESETS: dict[str, Preset] = {
    "joint-tiny": _joint(6, 192, 3),
    "joint-s": _joint(12, 384, 6),
    "joint-b": _joint(12, 768, 12),
    "joint-l": _joint(24, 1024, 16),
    "joint-xl": _joint(28, 1152, 16),
}


def resolve(name: str, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Every value of the model, overrides applied, as JSON can hold them.

    `resolve(name, resolve(name, overrides))` changes nothing. UserError for an unknown
    preset, key or kind of value, naming the nearest.
    """
    _, values = _resolve(name, overrides or {})
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
) -> nnx.Module:
    """A model with fresh parameters, always float32.

    latent_shape: (T, H, W, C). num_classes: 0 for a model without labels. out_channels:
    C unless given. attention: a name of `ATTENTIONS` or a function of its type. dtype:
    what the model computes in.
    """
    if attention is None or isinstance(attention, str):
        overrides["attention"] = attention
    preset, values = _resolve(name, overrides)
    if attention is None or isinstance(attention, str):
        attention = choose(ATTENTIONS, values["attention"], "model.attention")
    return preset.build(
        values,
        latent_shape=latent_shape,
        num_classes=num_classes,
        out_channels=out_channels,
        attention=attention,
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
    **overrides: Any,
) -> Cost:
    """Parameters and multiply-adds of `build` with the same arguments."""
    preset, values = _resolve(name, overrides)
    return preset.cost(values, latent_shape, num_classes, out_channels)


def _resolve(name: str, overrides: Mapping[str, Any]) -> tuple[Preset, dict[str, Any]]:
    base, _, patch = name.partition("/")
    preset = choose(PRESETS, base, "model.preset")
    values = {**preset.values, "patch": _parse_patch(name, patch)}
    for key, value in overrides.items():
        if key not in values:
            raise UserError(
                f"model.{key} is no value of preset {base!r}, which has "
                f"{', '.join(sorted(values))}{nearest(key, values)}"
            )
        if value is not None:
            values[key] = _like(values[key], value, f"model.{key}")
    return preset, preset.complete(values)


def _parse_patch(name: str, patch: str) -> Triple:
    parts = patch.split("x")
    if len(parts) != 3 or not all(part.isdigit() and int(part) for part in parts):
        raise UserError(
            f"model.preset {name!r} has no patch of <frames>x<height>x<width>; "
            f"change it to, for example, '{name.partition('/')[0]}/1x2x2'"
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
