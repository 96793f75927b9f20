"""How fast a run goes and how much of the hardware it uses."""

import time
from collections.abc import Iterator
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

T = TypeVar("T")

# Dense bfloat16 FLOP/s of one JAX device, from the vendors' pages. A v7x chip is two.
PEAK_BF16 = {
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5e": 197e12,
    "TPU v5": 459e12,
    "TPU v5p": 459e12,
    "TPU v6 lite": 918e12,
    "TPU v6e": 918e12,
    "TPU7x": 1153.5e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H200": 989e12,
    "NVIDIA B200": 2250e12,
}


def peak(mesh: Mesh) -> tuple[float, str]:
    """FLOP/s of all devices together that MFU divides by, and its name.

    The published bfloat16 peak where the chip is known; elsewhere (a CPU) what a large
    float32 matmul reaches on these devices, measured now.
    """
    kind = mesh.devices.flat[0].device_kind
    if kind in PEAK_BF16:
        return PEAK_BF16[kind] * mesh.size, f"bf16 peak of {mesh.size} x {kind}"
    name = f"measured float32 matmul of {mesh.size} x {kind}"
    return measured_matmul(mesh), name


def measured_matmul(mesh: Mesh, size: int = 1024, repeats: int = 5) -> float:
    """Best FLOP/s over `repeats` of one [size, size] product on every device."""
    split = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
    shape = (mesh.size, size, size)
    ones = jax.jit(lambda: jnp.ones(shape, jnp.float32), out_shardings=split)()
    multiply = jax.jit(lambda a: jnp.matmul(a, a), out_shardings=split)
    multiply(ones).block_until_ready()
    best = min(_seconds(multiply, ones) for _ in range(repeats))
    return 2.0 * size**3 * mesh.size / best


def _seconds(function, argument) -> float:
    start = time.perf_counter()
    function(argument).block_until_ready()
    return time.perf_counter() - start


class Waiting(Iterator[T]):
    """An iterator that knows how many seconds its caller waited for it."""

    def __init__(self, source: Iterator[T]):
        self.source = source
        self.seconds = 0.0

    def __next__(self) -> T:
        start = time.perf_counter()
        try:
            return next(self.source)
        finally:
            self.seconds += time.perf_counter() - start
