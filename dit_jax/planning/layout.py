"""How a training is divided over the devices of a machine, and what does not divide."""

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
    def exchange(self) -> int:
        """The part of the context axis that exchanges heads for tokens."""
        return self.context // self.ring

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
    exchanging, heads = layout.exchange, workload.num_heads
    if heads // layout.tensor % exchanging:
        raise UserError(
            f"the {heads // layout.tensor} heads on a device are not divisible by the "
            f"{exchanging} devices of mesh.context={layout.context} / mesh.ring="
            f"{layout.ring} that exchange them; set mesh.ring={layout.context} or "
            "change mesh.context"
        )
