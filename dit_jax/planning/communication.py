"""What travels between devices in one step: every collective, its bytes and its axis.

`num_bytes` of a collective is the array that one device has in hand: the gathered
array of an all-gather, the whole gradient of a reduce-scatter or all-reduce, the shard
that an all-to-all or a permute sends. The counts are the fewest that the sharding rules
allow: weights are gathered in the compute dtype, once forward and once backward;
modulations are computed where their weights lie and only the results travel.
"""

import collections
import dataclasses
import math
from collections.abc import Iterator, Mapping

from dit_jax.parallel.sharding import RULES
from dit_jax.planning.layout import Layout, Span
from dit_jax.planning.memory import FP32, tokens_per_device
from dit_jax.planning.training import Training
from dit_jax.planning.workload import Parameter, Workload

GATHERED = ("fsdp", "context")
ROWS = ("data", "fsdp", "context")  # axes whose devices see different tokens
TENSOR_REDUCTIONS = 4  # a layer: two after products forward, two backward


@dataclasses.dataclass(frozen=True)
class Collective:
    """kind: as in HLO. count: in a step. in_scan: once a layer. hidden: it can run
    beside products that do not wait for it."""

    kind: str
    axes: tuple[str, ...]
    what: str
    num_bytes: float
    count: int
    in_scan: bool
    hidden: bool

    @property
    def axis(self) -> str:
        return "*".join(self.axes)

    @property
    def step_bytes(self) -> float:
        return self.num_bytes * self.count


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
        dataclasses.replace(one, axes=_used(one.axes, layout))
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
    if layout.context > layout.ring:
        yield Collective(
            "all-to-all",
            ("context",),
            "q, k, v and output of attention, and their gradients",
            shard,
            (8 + policy.exchanges) * layers,
            in_scan=True,
            hidden=False,
        )
    if layout.ring > 1:
        forwards = 1 + policy.scores
        yield Collective(
            "collective-permute",
            ("context",),
            "keys and values, and in the backward pass their gradients",
            2 * shard,
            (layout.ring - 1) * (forwards + 2) * layers,
            in_scan=True,
            hidden=True,
        )


def seconds(
    collective: Collective, layout: Layout, spans: Mapping[str, Span]
) -> tuple[float, float]:
    """(over the links inside a group, over the network between groups), a step.

    Gathering n shards of S bytes in all brings (n - 1) / n S to every device; reducing
    and scattering costs the same, an all-reduce both. An all-to-all of V bytes over a
    line of n devices moves n V / 4 through its middle, a switch n - 1 shards. Between
    groups every device exchanges its own shard with its counterparts.
    """
    inside = outside = 0.0
    size = collective.num_bytes
    if collective.kind == "all-to-all":
        for axis in collective.axes:
            span = spans[axis]
            inside += max(
                (_exchange(size, *line, span) for line in span.lines), default=0
            )
            outside += size * (span.outer - 1) / span.outer / span.outer_bytes_per_s
    elif collective.kind == "collective-permute":
        inside = size / spans[collective.axes[0]].hop_bytes_per_s
    else:
        times = 2 if collective.kind == "all-reduce" else 1
        used = [spans[axis] for axis in collective.axes]
        inner = math.prod(span.inner for span in used)
        outer = math.prod(span.outer for span in used)
        if inner > 1:
            rate = sum(s.inner_bytes_per_s for s in used if s.inner > 1)
            inside = times * size * (inner - 1) / inner / rate
        if outer > 1:
            rate = used[0].outer_bytes_per_s
            outside = times * size / inner * (outer - 1) / outer / rate
    return inside * collective.count, outside * collective.count


def _exchange(size: float, length: int, rate: float, span: Span) -> float:
    if span.switched:
        return size * (length - 1) / length / rate
    return size * length / 4 / rate
