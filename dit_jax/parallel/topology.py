"""Machines by name: `v5e:16x16`, two slices `2*v5e:16x16`, GPUs `h100:8x8`.

A machine that is not here can be had as devices that programs are compiled for. This
needs the compiler (`make venv-tpu`, `make venv-gpu`) and no TPU or GPU. What comes of
it is compiled, never run: memory, FLOPs and collectives are known, speed is not.
"""

import contextlib
import dataclasses
import math
import os
import re
from collections.abc import Iterator

import jax
from jax.experimental import topologies

from dit_jax.errors import UserError, nearest
from dit_jax.parallel.chips import CHIPS, Chip
from dit_jax.parallel.gpu_targets import TARGETS

ENVIRONMENT = {
    # Without them libtpu waits for a metadata server and refuses a second process.
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    # Without it JAX drops the GPU compiler where there are no CUDA libraries.
    "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1",
}
# A device of v4 is a chip, as on its hosts; the compiler's default is half of one.
CONFIGURATIONS = {"v4": {"chip_config_name": "megacore"}}

SPELLING = re.compile(r"(?:(\d{1,4})\*)?([A-Za-z0-9]+):(\d{1,4}(?:x\d{1,4})*)")


@dataclasses.dataclass(frozen=True)
class Topology:
    """`num_slices` slices of TPU chips, or hosts x GPUs.

    shape: chips of one slice along the axes of its torus, or (hosts, GPUs of a host).
    A group is what fast links join: a slice, or the GPUs of one host.
    """

    chip: Chip
    shape: tuple[int, ...]
    num_slices: int = 1

    @property
    def name(self) -> str:
        slices = f"{self.num_slices}*" if self.num_slices > 1 else ""
        return f"{slices}{self.chip.name}:{_by(self.shape)}"

    @property
    def num_chips(self) -> int:
        return self.num_slices * math.prod(self.shape)

    @property
    def num_devices(self) -> int:
        return self.num_chips * self.chip.devices_per_chip

    @property
    def is_tpu(self) -> bool:
        return self.chip.platform == "tpu"

    @property
    def num_groups(self) -> int:
        """Slices, or hosts of GPUs."""
        return self.num_slices if self.is_tpu else self.shape[0]

    @property
    def group_shape(self) -> tuple[int, ...]:
        """Chips of a group along the axes of its torus; (GPUs,) of a host."""
        return self.shape if self.chip.torus_dims else self.shape[1:]


def parse(name: str) -> Topology:
    """The machine of a name; UserError that says how to spell one."""
    found = SPELLING.fullmatch(name)
    if found is None:
        raise UserError(
            f"topology {name!r} is not spelt CHIP:AxB[xC]; give, for example, v5e:4x4, "
            "2*v5e:16x16 (two slices), v5p:8x8x4 or h100:8x8 (hosts x GPUs)"
        )
    slices, kind, lengths = found.groups()
    if kind not in CHIPS:
        raise UserError(
            f"topology {name!r} is of an unknown chip {kind!r}; choose one of "
            f"{', '.join(CHIPS)}{nearest(kind, CHIPS)}"
        )
    chip, num_slices = CHIPS[kind], int(slices or 1)
    shape = tuple(map(int, lengths.split("x")))
    _check(name, chip, shape, num_slices)
    return Topology(chip, shape, num_slices)


def _check(name: str, chip: Chip, shape: tuple[int, ...], num_slices: int) -> None:
    wanted = chip.torus_dims or 2
    if len(shape) != wanted:
        what = f"a {wanted}-dimensional torus" if chip.torus_dims else "hosts x GPUs"
        raise UserError(
            f"topology {name!r} is not {what}, which {chip.name} is; give "
            f"{chip.name}:{'x'.join('ABC'[:wanted])}"
        )
    if min(*shape, num_slices) < 1:
        raise UserError(f"topology {name!r} is empty; give lengths of at least 1")
    if num_slices > 1 and not chip.torus_dims:
        hosts = num_slices * shape[0]
        raise UserError(
            f"topology {name!r} has slices, which GPUs have not; give all hosts, "
            f"{chip.name}:{hosts}x{shape[1]}"
        )


def devices(topology: Topology | str) -> list[jax.Device]:
    """Devices of a topology that is not here, to compile for."""
    if isinstance(topology, str):
        topology = parse(topology)
    describe = _tpus if topology.chip.platform == "tpu" else _gpus
    with _environment():
        return list(describe(topology).devices)


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """ENVIRONMENT for the time being: with it, programs that this one starts would take
    the machine for a TPU VM."""
    added = {k: v for k, v in ENVIRONMENT.items() if k not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for key in added:
            del os.environ[key]


def _tpus(topology: Topology) -> topologies.TopologyDescription:
    name = topology.chip.name
    try:
        return topologies.get_topology_desc(
            platform="tpu",
            topology_name=f"{name}:{_by(topology.shape)}",
            num_slices=topology.num_slices,
            **CONFIGURATIONS.get(name, {}),
        )
    except Exception as error:
        raise UserError(
            f"topology {topology.name!r} cannot be described "
            f"({str(error).splitlines()[0]}); give a shape that {name} is built in, "
            "and install the TPU compiler with make venv-tpu"
        ) from error


def _gpus(topology: Topology) -> topologies.TopologyDescription:
    name = topology.chip.name
    if name not in TARGETS:
        raise UserError(
            f"nothing can be compiled here for {topology.name}; plan it without "
            f"--compile, or give a topology of {' or '.join(TARGETS)}"
        )
    hosts, gpus = topology.shape
    try:
        return topologies.get_topology_desc(
            platform="cuda",
            topology_name=name,
            topology=f"{hosts}x1x{gpus}",  # NVLink domains x their hosts x GPUs
            target_config=TARGETS[name],
        )
    except NotImplementedError as error:
        raise UserError(
            f"topology {topology.name!r} needs the GPU compiler, which JAX does not "
            "have; install it with make venv-gpu and start with JAX_PLATFORMS=cpu"
        ) from error


def _by(lengths: tuple[int, ...]) -> str:
    return "x".join(map(str, lengths))
