"""What travels between devices in one step: every collective, its bytes and its axis.

`num_bytes` of a collective is the array that one device has in hand: the gathered
array of an all-gather, the whole gradient of a reduce-scatter or all-reduce, the shard
that an all-to-all or a permute sends. The counts are the fewest that the sharding rules
allow: weights are gathered in the compute dtype, once forward and once backward;
modulations are computed where their weights lie and only the results travel.
"""

import collections
import dataclasses
from collections.abc import Iterator

from dit_jax.parallel.sharding import RULES
from dit_jax.planning.layout import Layout
from dit_jax.planning.memory import FP32, tokens_per_device
from dit_jax.planning.training import Training
from dit_jax.planning.workload import Parameter, Workload

GATHERED = ("fsdp", "context")
ROWS = ("data", "fsdp", "context")  # axes whose devices see different tokens
TENSOR_REDUCTIONS = 4  # a layer: two after products forward, two backward


@dataclasses.dataclass(frozen=True)
class Collective:
    """kind: as in HLO. ways: devices of a group. count: in a step. in_scan: once a
    layer. hidden: it can run beside products that do not wait for it; a permute, beside
    attention alone."""

    kind: str
    axes: tuple[str, ...]
    what: str
    num_bytes: float
    count: int
    in_scan: bool
    hidden: bool
    ways: int = 0

    @property
    def axis(self) -> str:
        return "*".join(self.axes)

    @property
    def sent(self) -> float:
        """Bytes that one device sends in a step."""
        return sent(self.kind, self.num_bytes, self.ways) * self.count


def sent(kind: str, num_bytes: int | float, ways: int) -> float:
    """Bytes that one of `ways` devices must send for one collective."""
    if kind == "collective-permute":
        return float(num_bytes)
    times = 2 if kind == "all-reduce" else 1  # it is a scatter and a gather
    return times * num_bytes * (ways - 1) / ways


def collectives(
    workload: Workload, training: Training, layout: Layout
) -> tuple[Collective, ...]:
    """All of a step, without those of one device and of scalars."""
    found = [
        *_weights(workload, training, layout),
        *_modulations(workload, training, layout),
        *_tensor(workload, training, layout),
        *_context(workload, training, layout),
    ]
    return tuple(
        dataclasses.replace(
            one, axes=_used(one.axes, layout), ways=one.ways or layout.ways(one.axes)
        )
        for one in found
        if layout.ways(one.axes) > 1 and one.count and one.num_bytes
    )


def _used(axes: tuple[str, ...], layout: Layout) -> tuple[str, ...]:
    return tuple(axis for axis in axes if layout.sizes[axis] > 1)


def _weights(
    workload: Workload, training: Training, layout: Layout
) -> Iterator[Collective]:
    """Gathers of weights and reductions of their gradients, a layer's together.

    Keys are (layers, axes), layers 0 outside the scan; sums are of numbers.
    """
    gathered: dict[tuple, float] = collections.defaultdict(float)
    reduced: dict[tuple, float] = collections.defaultdict(float)
    for parameter in workload.parameters:
        layers, own = parameter.num_layers, _sharded_over(parameter)
        size = parameter.size / max(layers, 1)
        if "tensor" in own:
            size /= layout.tensor
        over = tuple(axis for axis in GATHERED if axis in own)
        size_of_shard = size / layout.ways(over)
        if parameter.hoisted:  # its gradient is complete where it lies, but for data
            reduced[layers, ("data",)] += size_of_shard
            continue
        gathered[layers, over] += size
        apart = tuple(axis for axis in ROWS if axis not in over)
        reduced[layers, apart] += size_of_shard
    c, parts = training.compute_bytes, training.microbatches
    for (layers, over), size in gathered.items():
        what, place = _place(layers)
        count = parts * max(layers, 1)
        both = f"{what}, forward and backward"
        yield Collective("all-gather", over, both, c * size, 2 * count, **place)
        back = f"gradients of {what}"
        yield Collective("reduce-scatter", over, back, c * size, count, **place)
    for (layers, apart), size in reduced.items():
        what, place = _place(layers)
        count = parts * max(layers, 1)
        back = f"gradients of {what}"
        yield Collective("all-reduce", apart, back, c * size, count, **place)


def _place(layers: int) -> tuple[str, dict[str, bool]]:
    what = "weights of a layer" if layers else "other weights"
    return what, {"in_scan": bool(layers), "hidden": True}


def _sharded_over(parameter: Parameter) -> set[str]:
    axes: set[str] = set()
    for name in parameter.axes:
        entry = None if name is None else RULES[name]
        axes |= {entry} if isinstance(entry, str) else set(entry or ())
    return axes


def _modulations(
    workload: Workload, training: Training, layout: Layout
) -> Iterator[Collective]:
    """From devices that hold columns of the projection to devices that hold rows of
    the batch, and their gradients back: float32."""
    rows = training.batch_size / training.microbatches / layout.data
    size, parts = FP32 * rows * workload.modulation / layout.fsdp, training.microbatches
    place = {"in_scan": False, "hidden": False}
    what, whole = "modulations of all layers", ("context", "tensor")
    yield Collective("all-gather", whole, what, size, parts, **place)
    yield Collective("reduce-scatter", whole, f"{what}, back", size, parts, **place)
    yield Collective(
        "all-to-all", ("fsdp",), f"{what}, there and back", size, 2 * parts, **place
    )


def _tensor(
    workload: Workload, training: Training, layout: Layout
) -> Iterator[Collective]:
    again = 1 if training.policy.linear else 0  # the MLP's input is computed again
    tokens = tokens_per_device(workload, training, layout)
    yield Collective(
        "all-reduce",
        ("tensor",),
        "outputs of attention and MLP, and gradients of their inputs",
        tokens * workload.width * training.compute_bytes,
        (TENSOR_REDUCTIONS + again) * workload.depth * training.microbatches,
        in_scan=True,
        hidden=False,
    )


def _context(
    workload: Workload, training: Training, layout: Layout
) -> Iterator[Collective]:
    """q, k, v and the output change from tokens to heads and back; keys and values go
    round the ring, and their gradients with them."""
    policy = training.policy
    tokens = tokens_per_device(workload, training, layout)
    shard = tokens * workload.width / layout.tensor * training.compute_bytes
    layers = workload.depth * training.microbatches
    if layout.exchange > 1:
        yield Collective(
            "all-to-all",
            ("context",),
            "q, k, v and output of attention, and their gradients",
            shard,
            (8 + policy.exchanges) * layers,
            in_scan=True,
            hidden=False,
            ways=layout.exchange,
        )
    if layout.ring > 1:
        hops = (layout.ring - 1) * layers
        yield Collective(
            "collective-permute",
            ("context",),
            "keys and values, forward and backward",
            2 * shard,
            hops * (2 + policy.scores),
            in_scan=True,
            hidden=True,
        )
        yield Collective(
            "collective-permute",
            ("context",),
            "gradients of keys and values, float32",
            2 * shard * FP32 / training.compute_bytes,
            hops,
            in_scan=True,
            hidden=True,
        )
