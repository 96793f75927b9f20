"""What a run is at one moment: step, parameters, optimizer state, EMA; sharded."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding

from dit_jax.checkpoints import Checkpoints
from dit_jax.parallel import sharding
from dit_jax.training import placement


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """`step` is an int32 scalar of completed optimizer steps. Floats are float32.

    The leaves may also be shapes or shardings: one tree for all three.
    """

    step: Any
    params: Any
    opt_state: optax.OptState
    ema: Any


def create(params: Any, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step; the EMA starts as the parameters."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=optimizer.init(params),
        ema=jax.tree.map(jnp.copy, params),
    )


def shardings(
    abstract: TrainState,
    param_shardings: Any,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
) -> TrainState:
    """Moments and EMA lie where their parameters lie; counters are replicated."""
    moments = placement.opt_shardings(
        abstract.opt_state, abstract.params, param_shardings, optimizer, mesh
    )
    return TrainState(
        step=sharding.replicated(mesh),
        params=param_shardings,
        opt_state=moments,
        ema=param_shardings,
    )


def init_sharded(
    init: Callable[[], Any],
    logical_axes: Any,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
) -> tuple[Callable[[], TrainState], TrainState]:
    """(a function that makes the state in place, the abstract state with shardings).

    `init()` returns the parameters. Nothing is allocated before the function is called,
    and no device ever holds more than its shards.
    """

    def make() -> TrainState:
        return create(init(), optimizer)

    abstract = jax.eval_shape(make)
    placed = shardings(
        abstract,
        sharding.param_shardings(abstract.params, logical_axes, mesh),
        optimizer,
        mesh,
    )
    return jax.jit(make, out_shardings=placed), _with_shardings(abstract, placed)


def _with_shardings(abstract: TrainState, placed: TrainState) -> TrainState:
    def join(leaf, where: NamedSharding) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where)

    return jax.tree.map(join, abstract, placed)


def num_bytes(state: TrainState) -> int:
    """Of all leaves over all devices; shapes will do."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))


def save(checkpoints: Checkpoints, state: TrainState, step: int) -> None:
    """Everything that resuming needs, as items that can be read one by one.

    The position in the data is `step * batch_size`, a number that needs no file.
    """
    trees = {
        "params": state.params,
        "ema": state.ema,
        "opt_state": _by_path(state.opt_state),
    }
    checkpoints.save(step, trees, {"step": step})


def restore(checkpoints: Checkpoints, step: int, abstract: TrainState) -> TrainState:
    """The state as saved, laid out on the mesh of `abstract`."""
    stored = checkpoints.restore(step, "opt_state", _by_path(abstract.opt_state))
    count = jax.device_put(jnp.int32(step), abstract.step.sharding)
    return TrainState(
        step=count,
        params=checkpoints.restore(step, "params", abstract.params),
        opt_state=_from_paths(abstract.opt_state, stored),
        ema=checkpoints.restore(step, "ema", abstract.ema),
    )


def _by_path(tree: Any) -> dict[str, Any]:
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {sharding.path_name(path): leaf for path, leaf in flat}


def _from_paths(like: Any, values: dict[str, Any]) -> Any:
    paths, structure = jax.tree_util.tree_flatten_with_path(like)
    leaves = [values[sharding.path_name(path)] for path, _ in paths]
    return jax.tree_util.tree_unflatten(structure, leaves)
