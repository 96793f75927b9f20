"""The device mesh: four named axes, one line of config.

Devices that fast links join are a slice (of a TPU pod; of GPUs, hosts). Slices are
joined by the data centre's network (DCN), slower by tens of times. Sizes are those
within a slice; `dcn_data` and `dcn_fsdp` say how many slices an axis runs over.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

from dit_jax.errors import UserError

AXES = ("data", "fsdp", "context", "tensor")

# Only these may run over slices. Their traffic is parameters and gradients, which can
# move while something else is computed; context and tensor exchange activations inside
# every layer, and the layer waits for them.
DCN_AXES = ("data", "fsdp")


def axis_sizes(
    num_devices: int,
    *,
    machine: str | None = None,
    dcn_data: int = 1,
    dcn_fsdp: int = 1,
    **within: int,
) -> dict[str, int]:
    """Sizes of all axes over all slices, for `num_devices` altogether.

    within: sizes in a slice; one of them may be -1 and takes the rest of the slice.
    machine: the name of one that is not here.
    """
    sizes = _within_slice(num_devices, dcn_data, dcn_fsdp, within, machine)
    return {
        axis: size * {"data": dcn_data, "fsdp": dcn_fsdp}.get(axis, 1)
        for axis, size in sizes.items()
    }


def build(
    found: Sequence[jax.Device] | None = None,
    /,
    *,
    devices: int | None = None,
    dcn_data: int = 1,
    dcn_fsdp: int = 1,
    ring: int = 1,
    **within: int,
) -> Mesh:
    """A mesh with axes (data, fsdp, context, tensor), all of them Auto.

    found: the devices, else those that JAX sees; devices: how many there must be; ring:
    how many of the context axis pass keys around, see `attention.on_mesh`.
    """
    if ring < 1 or within["context"] % ring:
        raise UserError(
            f"mesh.ring is {ring}, which does not divide mesh.context = "
            f"{within['context']}; change mesh.ring or mesh.context"
        )
    found = list(jax.devices() if found is None else found)
    if devices is not None and len(found) != devices:
        raise UserError(
            f"mesh.devices is {devices}, but there are {len(found)} x "
            f"{found[0].device_kind} in {_num_hosts(found)} process(es); start the "
            "program on all hosts as one run, or change mesh.devices"
        )
    grid = arrange(found, dcn_data=dcn_data, dcn_fsdp=dcn_fsdp, **within)
    return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def arrange(
    found: Sequence[Any], *, dcn_data: int = 1, dcn_fsdp: int = 1, **within: int
) -> np.ndarray:
    """The devices [data, fsdp, context, tensor].

    Neighbours on an axis are in one slice wherever the axis allows, and neighbours on
    the torus where that is known.
    """
    shape = tuple(_within_slice(len(found), dcn_data, dcn_fsdp, within).values())
    slices = _slices(found, dcn_data * dcn_fsdp)
    grid = np.stack([_grid(part, shape) for part in slices])
    grid = grid.reshape(dcn_data, dcn_fsdp, *shape).swapaxes(1, 2)
    data, fsdp, context, tensor = shape
    return grid.reshape(dcn_data * data, dcn_fsdp * fsdp, context, tensor)


def describe(mesh: Mesh) -> str:
    """`8 x cpu: data 2, fsdp 4` with the axes of size 1 left out."""
    devices = list(mesh.devices.flat)
    is_tpu = devices[0].platform == "tpu"
    num_slices = len({_slice_index(device) for device in devices}) if is_tpu else 1
    text = f"{mesh.size} x {devices[0].device_kind}"
    text += f" in {num_slices} slices" if num_slices > 1 else ""
    axes = ", ".join(f"{a} {n}" for a, n in mesh.shape.items() if n > 1)
    return text + (f": {axes}" if axes else "")


def _within_slice(
    num_devices: int,
    dcn_data: int,
    dcn_fsdp: int,
    within: dict[str, int],
    machine: str | None = None,
) -> dict[str, int]:
    """Sizes of all axes in a slice, -1 filled."""
    for key, size in {"dcn_data": dcn_data, "dcn_fsdp": dcn_fsdp}.items():
        if size < 1:
            raise UserError(f"mesh.{key} is {size}; give at least 1, which is no DCN")
    num_slices = dcn_data * dcn_fsdp
    if num_devices % num_slices:
        where = f" of {machine}" if machine else ""
        raise UserError(
            f"mesh.dcn_data={dcn_data} x mesh.dcn_fsdp={dcn_fsdp} are {num_slices} "
            f"slices, which do not divide {num_devices} devices{where}; change one "
            "of them"
        )
    available = num_devices // num_slices
    there = f"{machine} has" if machine else "there are"
    there += f" {available} devices" + (" in a slice" if num_slices > 1 else "")
    wanted = {axis: within[axis] for axis in AXES}
    text = " x ".join(f"{axis} {size}" for axis, size in wanted.items())
    remedy = f"change mesh.{{{','.join(AXES)}}}"
    if machine:
        remedy += " or --topology"
    elif jax.default_backend() == "cpu":
        remedy += " or set JAX_NUM_CPU_DEVICES"
    free = [axis for axis, size in wanted.items() if size == -1]
    if len(free) > 1 or any(s < 1 and s != -1 for s in wanted.values()):
        raise UserError(
            f"mesh is {text}, but sizes are at least 1 and at most one is -1; {remedy}"
        )
    fixed = math.prod(size for size in wanted.values() if size != -1)
    if free:
        if available % fixed:
            raise UserError(
                f"mesh is {text}, but {there}, which {fixed} does not divide; {remedy}"
            )
        wanted[free[0]] = available // fixed
    elif fixed != available:
        raise UserError(f"mesh is {text} = {fixed} devices, but {there}; {remedy}")
    return wanted


def _slices(found: Sequence[Any], num_slices: int) -> list[list[Any]]:
    """The devices of each slice; UserError where the machine has not so many."""
    wanted = f"mesh.dcn_data x mesh.dcn_fsdp is {num_slices}"
    if found[0].platform == "tpu":
        by_index: dict[int, list[Any]] = {}
        for device in found:
            by_index.setdefault(_slice_index(device), []).append(device)
        if len(by_index) != num_slices:
            raise UserError(
                f"{wanted}, but the devices form {len(by_index)} slice(s); set "
                f"mesh.dcn_data={len(by_index)} and mesh.dcn_fsdp=1"
            )
        return [by_index[index] for index in sorted(by_index)]
    if num_slices == 1:
        return [list(found)]
    hosts = _num_hosts(found)
    is_simulated = found[0].platform == "cpu" and hosts == 1
    if hosts % num_slices and not is_simulated:
        raise UserError(
            f"{wanted}, which does not divide {hosts} process(es), one for each host; "
            "change mesh.dcn_data or mesh.dcn_fsdp"
        )
    ordered = sorted(found, key=lambda device: (device.process_index, device.id))
    size = len(found) // num_slices
    return [ordered[i : i + size] for i in range(0, len(found), size)]


def _grid(part: list[Any], shape: tuple[int, ...]) -> np.ndarray:
    """One slice as an array of devices."""
    device = part[0]
    # Where v4 is seen as two devices a chip, JAX knows no order; neighbours stay close.
    is_halved = device.device_kind == "TPU v4" and any(d.core_on_chip for d in part)
    if device.platform == "tpu" and not is_halved:
        return mesh_utils.create_device_mesh(
            shape, devices=part, allow_split_physical_axes=True
        )
    return np.asarray(part).reshape(shape)


def _slice_index(device: Any) -> int:
    return getattr(device, "slice_index", 0)  # of a topology of one slice: none


def _num_hosts(found: Sequence[Any]) -> int:
    return len({device.process_index for device in found})
