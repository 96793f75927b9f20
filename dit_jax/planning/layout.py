"""How a training is divided over the devices of a machine, and what does not divide."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from jax.sharding import AbstractMesh

from dit_jax.errors import UserError
from dit_jax.parallel import sharding
from dit_jax.parallel.attention import check_heads
from dit_jax.parallel.mesh import AXES, DCN_AXES, axis_sizes
from dit_jax.parallel.topology import Topology
from dit_jax.planning.workload import Workload, abstract_params


@dataclasses.dataclass(frozen=True)
class Layout:
    """Sizes of the mesh axes over all slices. ring: how many of the context axis pass
    keys and values round; the others exchange heads for tokens (Ulysses). dcn_data,
    dcn_fsdp: how many slices data and fsdp run over."""

    data: int = 1
    fsdp: int = 1
    context: int = 1
    tensor: int = 1
    ring: int = 1
    dcn_data: int = 1
    dcn_fsdp: int = 1

    @property
    def settings(self) -> dict[str, int]:
        """`mesh.*` of a config, whose data and fsdp are those within a slice."""
        return self.sizes | {
            "data": self.data // self.dcn_data,
            "fsdp": self.fsdp // self.dcn_fsdp,
            "ring": self.ring,
            "dcn_data": self.dcn_data,
            "dcn_fsdp": self.dcn_fsdp,
        }

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


def over_slices(layout: Layout, num_slices: int) -> Layout:
    """data, the outermost axis, runs over as many slices as it can, fsdp over the
    rest."""
    dcn_data = math.gcd(layout.data, num_slices)
    dcn_fsdp = num_slices // dcn_data
    if layout.fsdp % dcn_fsdp:
        raise UserError(
            f"mesh data {layout.data} x fsdp {layout.fsdp} cannot be divided over "
            f"{num_slices} slices; change mesh.data or mesh.fsdp"
        )
    return dataclasses.replace(layout, dcn_data=dcn_data, dcn_fsdp=dcn_fsdp)


def fill(settings: Mapping[str, Any], topology: Topology) -> Layout:
    """The layout of `mesh.*`, in which one size may be -1 and takes the rest; where
    nothing is said of slices, as `over_slices` has it."""
    slices = {f"dcn_{axis}": settings[f"dcn_{axis}"] for axis in DCN_AXES}
    within = {axis: settings[axis] for axis in AXES}
    sizes = axis_sizes(topology.num_devices, machine=topology.name, **slices, **within)
    layout = Layout(**sizes, ring=settings["ring"], **slices)
    told, there = math.prod(slices.values()), topology.num_groups
    if told == 1:
        return over_slices(layout, topology.num_slices)
    if there % told or (told != there and topology.is_tpu):
        text = " x ".join(f"mesh.{key}={value}" for key, value in slices.items())
        raise UserError(
            f"{text} are {told} slices, but {topology.name} has {there}; change them "
            "or --topology"
        )
    return layout


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
    check_heads(workload.num_heads, layout.sizes, layout.ring)
