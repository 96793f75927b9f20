"""Logical axis names -> mesh axes: one table, checked before anything compiles."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from dit_jax.errors import UserError

# Weights are sharded over fsdp and context together, so that context parallelism adds
# no copies of them; and on the dim that comes first, since TPUs scatter gradients along
# that one only. "stream" is the width that leaves a layer, "embed" the one that enters.
# None means: not sharded, on purpose.
RULES: dict[str, tuple[str, ...] | str | None] = {
    "batch": ("data", "fsdp"),
    "tokens": "context",
    "embed": ("fsdp", "context"),
    "heads": "tensor",
    "heads_in": ("tensor", "fsdp", "context"),
    "mlp": "tensor",
    "mlp_in": ("tensor", "fsdp", "context"),
    "stream": None,
    "modulation": ("fsdp", "context", "tensor"),
    "signal": None,
    "layers": None,
    "labels": None,
    "time": None,
    "text": None,
    "patch_in": None,
    "patch_out": None,
    "head_dim": None,
    "norm": None,
}

# An activation keeps its width whole: "embed" in RULES is for weights. "copies" are the
# rows of a batch where fsdp shards something else.
ACTIVATION_RULES = RULES | {"embed": None, "copies": "data"}

# A weight in use is whole but for what tensor parallelism splits.
GATHERED_RULES = {
    name: "tensor" if "tensor" in np.atleast_1d(axes or ()) else None
    for name, axes in RULES.items()
}

# The checks read names and sizes only, which a mesh without devices has too.
AnyMesh = Mesh | AbstractMesh

LARGE_SHARE = 0.01  # of the model: a parameter above it must not be replicated


def spec(names: Sequence[str | None], rules=RULES) -> PartitionSpec:
    """The PartitionSpec of dims with these logical names (None: not sharded)."""
    missing = [name for name in names if name is not None and name not in rules]
    assert not missing, f"no sharding rule for {missing}"
    return PartitionSpec(*(None if name is None else rules[name] for name in names))


def _ways(mesh: AnyMesh, entry: tuple[str, ...] | str | None) -> int:
    axes = (entry,) if isinstance(entry, str) else entry or ()
    return math.prod(mesh.shape[axis] for axis in axes)


def check_divides(
    mesh: AnyMesh,
    what: str,
    shape: Sequence[int],
    names: Sequence[str | None],
    rules=RULES,
) -> PartitionSpec:
    """The spec of an array, or one sentence on the dim that its axes do not divide."""
    found = spec(names, rules)
    for size, name, entry in zip(shape, names, found, strict=True):
        ways = _ways(mesh, entry)
        if size % ways:
            axes = "*".join((entry,) if isinstance(entry, str) else entry or ())
            raise UserError(
                f"{what}: dim {name!r} is {size}, which mesh {axes} = {ways} does not "
                f"divide; change the size, or make {axes} {math.gcd(size, ways)} and "
                "mesh.data larger"
            )
    return found


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Rows over data and fsdp, everything else whole."""
    return NamedSharding(mesh, spec(("batch",)))


def check_batch(mesh: AnyMesh, key: str, batch_size: int) -> None:
    ways = _ways(mesh, RULES["batch"])
    if batch_size < 1 or batch_size % ways:
        raise UserError(
            f"{key} is {batch_size}, which is not a positive multiple of the mesh's "
            f"data*fsdp = {ways}; change {key} or mesh.*"
        )


def param_shardings(params: Any, logical_axes: Any, mesh: AnyMesh) -> Any:
    """NamedShardings of a parameter tree, checked for division and replication.

    params: tree of shaped leaves; logical_axes: same tree of tuples of names.
    """
    total = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
    ways = mesh.shape["fsdp"] * mesh.shape["context"]

    def place(path, leaf, names) -> NamedSharding:
        name = path_name(path)
        found = check_divides(mesh, f"parameter {name}", leaf.shape, names)
        used = math.prod(_ways(mesh, entry) for entry in found)
        size = math.prod(leaf.shape)
        if ways > 1 and used == 1 and size > LARGE_SHARE * total:
            raise UserError(
                f"parameter {name} {leaf.shape} holds {size / total:.1%} of the model "
                "but would be copied to every device; give it a rule in "
                "parallel/sharding.py"
            )
        return NamedSharding(mesh, found)

    return jax.tree_util.tree_map_with_path(place, params, logical_axes)


def path_name(path: tuple) -> str:
    """`stack/attention/qkv/kernel` of a tree path."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def summary(params: Any, shardings: Any) -> list[str]:
    """A table: parameter, shape, spec, bytes per chip; and the totals."""
    lines = []
    total = local = 0
    flat, _ = jax.tree_util.tree_flatten_with_path(params)
    for (path, leaf), sharding in zip(flat, jax.tree.leaves(shardings), strict=True):
        itemsize = np.dtype(leaf.dtype).itemsize
        here = math.prod(sharding.shard_shape(leaf.shape)) * itemsize
        total += math.prod(leaf.shape)
        local += here
        shape = "x".join(map(str, leaf.shape))
        lines.append(
            f"  {path_name(path):<44} {shape:<18} {_short(sharding.spec):<32} "
            f"{here / 1e6:9.2f} MB"
        )
    lines.append(f"  {total / 1e6:.2f} M parameters, {local / 1e6:.1f} MB on each chip")
    return lines


def _short(found: PartitionSpec) -> str:
    entries = ["*".join(e) if isinstance(e, tuple) else str(e or "-") for e in found]
    return "(" + ", ".join(entries) + ")"


def local_rows(mesh: Mesh, batch_size: int) -> np.ndarray:
    """The rows of the global batch that the devices of this process hold, sorted."""
    indices = batch_sharding(mesh).addressable_devices_indices_map((batch_size,))
    slices = [index[0].indices(batch_size) for index in indices.values() if index]
    return np.unique(np.concatenate([np.arange(*s) for s in slices]))


def to_global(mesh: Mesh, rows: np.ndarray, batch_size: int, tree: Any) -> Any:
    """Global arrays from this process's rows: leaf [len(rows), ...] -> [B, ...]."""
    sharding = batch_sharding(mesh)

    def place(local: np.ndarray) -> Array:
        def piece(index: tuple[slice, ...] | None) -> np.ndarray:
            assert index is not None
            start, stop, _ = index[0].indices(batch_size)
            first = int(np.searchsorted(rows, start))
            return local[first : first + stop - start]

        shape = (batch_size, *local.shape[1:])
        return jax.make_array_from_callback(shape, sharding, piece)

    return jax.tree.map(place, tree)
