"""Which parameters are stacks of layers, told by the logical names of their dims.

A scanned stack keeps the parameters of its layers in one array, layers first. Whatever
depends on a parameter as a whole (its norm, its RMS) must take every layer by itself,
or a model would train differently for being scanned.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

STACKED = "layers"


def is_stacked(names: tuple[str | None, ...]) -> bool:
    return names[:1] == (STACKED,)


def map_with_names(function, logical_axes: Any) -> Any:
    """A tree of `function(path, names)`; path: tuple of keys as strings."""

    def call(path: tuple, names: tuple[str | None, ...]) -> Any:
        return function(tuple(entry.key for entry in path), names)

    return jax.tree_util.tree_map_with_path(
        call, logical_axes, is_leaf=lambda leaf: isinstance(leaf, tuple)
    )


def each_layer(
    transform: optax.GradientTransformation, logical_axes: Any
) -> optax.GradientTransformation:
    """A transformation without state, applied to every layer by itself."""
    stacked = map_with_names(lambda _, names: is_stacked(names), logical_axes)

    def alone(gradient: Array, parameter: Array) -> Array:
        state = transform.init(parameter)
        assert not jax.tree.leaves(state), "a state would be lost"
        return transform.update(gradient, state, parameter)[0]

    def update(gradients: Any, params: Any) -> Any:
        def apply(is_stack: bool, gradient: Array, parameter: Array) -> Array:
            function = jax.vmap(alone) if is_stack else alone
            return function(gradient, parameter)

        return jax.tree.map(apply, stacked, gradients, params)

    return optax.stateless(update)


def square_sums(leaf: Float[Array, "..."], is_stack: bool) -> Float[Array, "..."]:
    """The sum of squares of a parameter: one number, or one for every layer."""
    return jnp.sum(jnp.square(leaf), axis=tuple(range(is_stack, leaf.ndim)))
