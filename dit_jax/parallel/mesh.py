"""The device mesh: four named axes, one line of config."""

import math

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

from dit_jax.errors import UserError

AXES = ("data", "fsdp", "context", "tensor")


def axis_sizes(num_devices: int, **sizes: int) -> dict[str, int]:
    """Sizes of all axes for `num_devices`; one of them may be -1 and takes the rest."""
    wanted = {axis: sizes[axis] for axis in AXES}
    text = " x ".join(f"{axis} {size}" for axis, size in wanted.items())
    remedy = f"change mesh.{{{','.join(AXES)}}}" + (
        " or set JAX_NUM_CPU_DEVICES" if jax.default_backend() == "cpu" else ""
    )
    free = [axis for axis, size in wanted.items() if size == -1]
    if len(free) > 1 or any(s < 1 and s != -1 for s in wanted.values()):
        raise UserError(
            f"mesh is {text}, but sizes are at least 1 and at most one is -1; {remedy}"
        )
    fixed = math.prod(size for size in wanted.values() if size != -1)
    if free:
        if num_devices % fixed:
            raise UserError(
                f"mesh is {text}, but {num_devices} devices are not divisible by "
                f"{fixed}; {remedy}"
            )
        wanted[free[0]] = num_devices // fixed
    elif fixed != num_devices:
        raise UserError(
            f"mesh is {text} = {fixed} devices, but there are {num_devices}; {remedy}"
        )
    return wanted


def build(devices: list[jax.Device] | None = None, **sizes: int) -> Mesh:
    """A mesh with axes (data, fsdp, context, tensor), all of them Auto.

    Neighbours on the torus become neighbours on the mesh where that is known.
    """
    devices = list(jax.devices()) if devices is None else devices
    shape = tuple(axis_sizes(len(devices), **sizes).values())
    if devices[0].platform == "tpu":
        grid = mesh_utils.create_device_mesh(
            shape, devices=devices, allow_split_physical_axes=True
        )
    else:
        grid = np.asarray(devices).reshape(shape)
    return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def describe(mesh: Mesh) -> str:
    """`8 x cpu: data 2, fsdp 4` with the axes of size 1 left out."""
    device = mesh.devices.flat[0]
    axes = ", ".join(f"{a} {n}" for a, n in mesh.shape.items() if n > 1)
    return f"{mesh.size} x {device.device_kind}" + (f": {axes}" if axes else "")
