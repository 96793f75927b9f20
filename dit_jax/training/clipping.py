"""Clipping of gradients: by the norm of all of them, and block by block.

A block is one layer of a stack with all its parameters (`stack/blocks`, layer 7), or
what stands outside of stacks under one name (`conditioning`, `embedding`, `head`).
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from dit_jax.errors import UserError
from dit_jax.training import layers


def clipping(
    *, clip_norm: float, block_clip_norm: float, clip_from: int, logical_axes: Any
) -> optax.GradientTransformation:
    """First every block to a norm of at most `block_clip_norm`, then all together to
    `clip_norm`; 0.0 does nothing.

    clip_from: completed steps before which neither does anything.
    """
    for key, value in {
        "clip_norm": clip_norm,
        "block_clip_norm": block_clip_norm,
        "clip_from": clip_from,
    }.items():
        if not value >= 0:
            raise UserError(f"optimizer.{key} is {value}; give at least 0")
    parts = []
    if block_clip_norm:
        parts.append(clip_blocks(block_clip_norm, logical_axes))
    if clip_norm:
        parts.append(optax.clip_by_global_norm(clip_norm))
    if not parts:
        return optax.identity()
    clip = parts[0] if len(parts) == 1 else optax.chain(*parts)
    if clip_from == 0:
        return clip
    return optax.conditionally_transform(clip, lambda step: step >= clip_from)


def clip_blocks(max_norm: float, logical_axes: Any) -> optax.GradientTransformation:
    """Scales down each block whose gradient is longer than `max_norm`."""
    groups = layers.map_with_names(block_name, logical_axes)
    stacked = layers.map_with_names(
        lambda _, names: layers.is_stacked(names), logical_axes
    )

    def update(gradients: Any, params: Any) -> Any:
        del params
        norms = block_norms(gradients, groups, stacked)

        def scale(gradient: Array, group: str) -> Array:
            # equal to the gradient itself, not almost, where nothing is clipped
            norm = norms[group]
            factor = jnp.where(norm > max_norm, max_norm / norm, 1.0)
            dims = range(norm.ndim, gradient.ndim)
            return gradient * jnp.expand_dims(factor, tuple(dims))

        return jax.tree.map(scale, gradients, groups)

    return optax.stateless(update)


def block_name(path: tuple[str, ...], names: tuple[str | None, ...]) -> str:
    """`stack/blocks` of what is stacked there, else the first name of the path."""
    return "/".join(path[:2]) if layers.is_stacked(names) else path[0]


def block_norms(gradients: Any, groups: Any, stacked: Any) -> dict[str, Array]:
    """Group -> the norm of its gradient, or of each of its layers."""
    sums = jax.tree.map(layers.square_sums, gradients, stacked)
    by_group: dict[str, list[Array]] = {}
    for group, value in zip(
        jax.tree.leaves(groups), jax.tree.leaves(sums), strict=True
    ):
        by_group.setdefault(group, []).append(value)
    return {
        group: jnp.sqrt(functools.reduce(jnp.add, values))
        for group, values in by_group.items()
    }
