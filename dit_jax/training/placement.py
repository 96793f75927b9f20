"""Where the state of an optimizer lies on the mesh: with the parameters it is about."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dit_jax.parallel import sharding


def opt_shardings(
    abstract_state: Any,
    abstract_params: Any,
    param_shardings: Any,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
) -> Any:
    """A NamedSharding for every leaf of the state: that of its parameter as far as it
    has its dims; counters are replicated."""
    whole = sharding.replicated(mesh)

    def place(leaf: Any, param: Any, placed: Any) -> Any:
        if _is_masked(leaf):  # no state for this parameter
            return leaf
        return of_statistic(leaf.shape, param.shape, placed)

    return optax.tree_utils.tree_map_params(
        optimizer,
        place,
        abstract_state,
        abstract_params,
        param_shardings,
        transform_non_params=lambda _: whole,
        is_leaf=_is_masked,
    )


def of_statistic(
    shape: Sequence[int], param_shape: Sequence[int], placed: NamedSharding
) -> NamedSharding:
    """The layout of a statistic that has some of the dims of a parameter.

    A dim that remains keeps its mesh axes. The axes of a dim that was averaged away go
    to the largest remaining dim that they divide: means over rows are as large as those
    over columns, and neither shall be on every device.
    """
    shape, param_shape = tuple(shape), tuple(param_shape)
    if shape == param_shape:
        return placed
    dims = next(
        (
            chosen
            for chosen in itertools.combinations(range(len(param_shape)), len(shape))
            if tuple(param_shape[dim] for dim in chosen) == shape
        ),
        None,
    )
    if dims is None:  # a placeholder of optax, such as (1,)
        return NamedSharding(placed.mesh, PartitionSpec())
    entries = [*placed.spec] + [None] * (len(param_shape) - len(placed.spec))
    found = [_axes(entries[dim]) for dim in dims]
    largest_first = sorted(range(len(shape)), key=lambda i: -shape[i])
    for dim in set(range(len(param_shape))) - set(dims):
        for i in largest_first:
            axes = found[i] + _axes(entries[dim])
            if shape[i] % math.prod(placed.mesh.shape[axis] for axis in axes) == 0:
                found[i] = axes
                break
    return NamedSharding(placed.mesh, PartitionSpec(*(axes or None for axes in found)))


def _axes(entry: tuple[str, ...] | str | None) -> tuple[str, ...]:
    return (entry,) if isinstance(entry, str) else tuple(entry or ())


def _is_masked(leaf: Any) -> bool:
    return isinstance(leaf, optax.MaskedNode)
