"""How fast a run goes and how much of the hardware it uses."""

import time
from collections.abc import Callable, Iterator
from typing import Generic, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dit_jax.parallel import chips

T = TypeVar("T")
P = ParamSpec("P")


def peak(mesh: Mesh) -> tuple[float, str]:
    """FLOP/s of all devices together that MFU divides by, and its name.

    The published bfloat16 peak where the chip is known; elsewhere (a CPU) what a large
    float32 matmul reaches on these devices, measured now.
    """
    kind = mesh.devices.flat[0].device_kind
    chip = chips.of_kind(kind)
    if chip is not None:
        return chip.bf16_flops * mesh.size, f"bf16 peak of {mesh.size} x {kind}"
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


class Dispatching(Generic[P, T]):
    """A function of a step that knows how many seconds its caller spent in calling it.

    Devices work on after the call; where they cannot take more work, it waits for them.
    Every call has its number of completed steps in a trace of the profiler.
    """

    def __init__(self, function: Callable[P, T], first_step: int):
        self.function = function
        self.step = first_step
        self.seconds = 0.0

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        start = time.perf_counter()
        self.step += 1
        try:
            with jax.profiler.StepTraceAnnotation("train", step_num=self.step):
                return self.function(*args, **kwargs)
        finally:
            self.seconds += time.perf_counter() - start


def shares(seconds: float, wait: float, dispatch: float) -> dict[str, float]:
    """Of the time of some steps: waiting for data, calling the step, and all the rest,
    in which devices compute (and validate, save, ...). They sum to 1."""
    return {
        "data_wait_share": wait / seconds,
        "dispatch_share": dispatch / seconds,
        "compute_share": (seconds - wait - dispatch) / seconds,
    }
