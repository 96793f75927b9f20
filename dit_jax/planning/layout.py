"""How a training lies on a machine: the sizes of its mesh, and the links of each axis.

Axes are laid from the inside out, tensor, context, fsdp, data: an axis takes lengths of
the torus (or GPUs of a host) until the group is full, and what is left of it spans
groups over the data centre's network.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

from jax.sharding import AbstractMesh

from dit_jax.errors import UserError
from dit_jax.parallel import sharding
from dit_jax.parallel.mesh import AXES
from dit_jax.parallel.topology import Topology
from dit_jax.planning.workload import Workload, abstract_params


@dataclasses.dataclass(frozen=True)
class Layout:
    """Sizes of the mesh axes. ring: how many of the context axis pass keys and values
    round; the others exchange heads for tokens (Ulysses)."""

    data: int = 1
    fsdp: int = 1
    context: int = 1
    tensor: int = 1
    ring: int = 1

    @property
    def num_devices(self) -> int:
        return math.prod(self.sizes.values())

    @property
    def sizes(self) -> dict[str, int]:
        return {axis: getattr(self, axis) for axis in AXES}

    @property
    def mesh(self) -> AbstractMesh:
        """A mesh without devices, for the checks and shard shapes of `sharding`."""
        return AbstractMesh(tuple(self.sizes.values()), AXES)

    def ways(self, axes: Sequence[str]) -> int:
        return math.prod(self.sizes[axis] for axis in axes)

    def describe(self) -> str:
        used = [f"{axis} {size}" for axis, size in self.sizes.items() if size > 1]
        ring = [f"ring {self.ring}"] if self.ring > 1 else []
        return ", ".join(used + ring) or "one device"


@dataclasses.dataclass(frozen=True)
class Span:
    """The links of one axis. lines: (length, bytes/s that a device receives along it)
    of each stretch of torus or switch inside a group; outer: groups it spans.
    switched: every device of a line reaches every other at the full rate."""

    lines: tuple[tuple[int, float], ...]
    outer: int
    outer_bytes_per_s: float
    hop_bytes_per_s: float
    switched: bool

    @property
    def inner(self) -> int:
        return math.prod(length for length, _ in self.lines)

    @property
    def inner_bytes_per_s(self) -> float:
        """Gathering and reducing use all lines at once."""
        return sum(rate for _, rate in self.lines) or math.inf


def fill(sizes: Mapping[str, int], topology: Topology, ring: int = 1) -> Layout:
    """The layout of `mesh.*`, in which one size may be -1 and takes the rest."""
    wanted = {axis: sizes[axis] for axis in AXES}
    free = [axis for axis, size in wanted.items() if size == -1]
    fixed = math.prod(size for size in wanted.values() if size != -1)
    text = " x ".join(f"{axis} {size}" for axis, size in wanted.items())
    found = f"mesh is {text}, but {topology.name} has {topology.num_devices} devices"
    remedy = f"change mesh.{{{','.join(AXES)}}} or --topology"
    if len(free) > 1 or any(s < 1 and s != -1 for s in wanted.values()):
        raise UserError(
            f"mesh is {text}, but sizes are at least 1 and at most one is -1; {remedy}"
        )
    if free:
        wanted[free[0]] = max(topology.num_devices // fixed, 1)
    if math.prod(wanted.values()) != topology.num_devices:
        raise UserError(f"{found}; {remedy}")
    return Layout(**wanted, ring=ring)


def check(
    layout: Layout, workload: Workload, batch_size: int, microbatches: int
) -> None:
    """UserError with the sentence of `sharding` for what the mesh does not divide."""
    mesh = layout.mesh
    sharding.check_batch(mesh, "train.batch_size", batch_size)
    if microbatches < 1 or batch_size % microbatches:
        raise UserError(
            f"train.microbatches is {microbatches}, which does not divide "
            f"train.batch_size={batch_size}; change one of them"
        )
    micro = "train.batch_size / train.microbatches"
    sharding.check_batch(mesh, micro, batch_size // microbatches)
    axes = {parameter.path: parameter.axes for parameter in workload.parameters}
    sharding.param_shardings(abstract_params(workload), axes, mesh)
    for what, size, name in (
        ("tokens of a clip", workload.tokens, "tokens"),
        ("model.num_heads", workload.num_heads, "heads"),
    ):
        sharding.check_divides(mesh, what, (size,), (name,), sharding.ACTIVATION_RULES)
    _check_ring(layout, workload)


def _check_ring(layout: Layout, workload: Workload) -> None:
    if layout.ring < 1 or layout.context % layout.ring:
        raise UserError(
            f"mesh.ring is {layout.ring}, which does not divide mesh.context="
            f"{layout.context}; change one of them"
        )
    exchanging, heads = layout.context // layout.ring, workload.num_heads
    if heads // layout.tensor % exchanging:
        raise UserError(
            f"the {heads // layout.tensor} heads on a device are not divisible by the "
            f"{exchanging} devices of mesh.context={layout.context} / mesh.ring="
            f"{layout.ring} that exchange them; set mesh.ring={layout.context} or "
            "change mesh.context"
        )


def spans(layout: Layout, topology: Topology) -> dict[str, Span]:
    """The links that each axis of the mesh has on a machine."""
    chip = topology.chip
    lengths = list(topology.group_shape)
    if chip.devices_per_chip > 1:
        lengths.append(chip.devices_per_chip)
    left = list(lengths)
    found = {}
    for axis in reversed(AXES):
        size, lines = layout.sizes[axis], []
        # whole lengths first: only they can be rings
        order = sorted(range(len(left)), key=lambda i: size % lengths[i] != 0)
        for i in order:
            part = math.gcd(size, left[i])
            if part > 1:
                is_ring = part == lengths[i] and part % chip.wraps_at == 0
                both = 2 if chip.torus_dims and is_ring and part > 2 else 1
                lines.append((part, both * chip.links_bytes_per_s))
                left[i] //= part
                size //= part
        found[axis] = Span(
            lines=tuple(lines),
            outer=size,
            outer_bytes_per_s=chip.dcn_bytes_per_s,
            hop_bytes_per_s=chip.links_bytes_per_s if lines else chip.dcn_bytes_per_s,
            switched=not chip.torus_dims,
        )
    return found
