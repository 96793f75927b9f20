"""The real train step compiled for devices that may not be here, and what it says.

Figures of a program that was compiled and never run: its memory, products and
collectives are exact, its speed is not known.
"""

import dataclasses
import re
import time
from typing import Any

import jax
from jax.sharding import Mesh

from dit_jax.planning.hlo import Collective, Program


@dataclasses.dataclass(frozen=True)
class Compiled:
    """Of one device and one step. peak: bytes of device memory at once; arguments: the
    state and the batch; aliased: of those, what is updated in place; host: bytes of the
    host's memory. flops: of products, loops as often as they run; kernels: calls of
    kernels written by hand, by scope, whose work `flops` does not hold."""

    peak: int
    arguments: int
    aliased: int
    host: int
    flops: int
    kernels: dict[str, int]
    collectives: list[Collective]
    seconds: float

    @property
    def sent(self) -> int:
        """Bytes that one device sends in a step."""
        return sum(collective.total for collective in self.collectives)


class OutOfMemory(Exception):
    """needed and available: bytes of one device."""

    def __init__(self, needed: float, available: float):
        super().__init__(f"needs {needed:.3g} of {available:.3g} bytes")
        self.needed, self.available = needed, available


def compile_step(step: Any, state: Any, batch: Any, mesh: Mesh) -> Compiled:
    """step: jitted; state and batch: shapes with shardings. Raises OutOfMemory when the
    compiler finds that the step cannot fit; the GPU compiler never looks."""
    started = time.monotonic()
    try:
        compiled = step.lower(state, batch).compile()
    except jax.errors.JaxRuntimeError as error:
        raise _out_of_memory(error) from error
    memory = compiled.memory_analysis()
    program = Program(compiled.as_text())
    return Compiled(
        peak=memory.peak_memory_in_bytes,
        arguments=memory.argument_size_in_bytes,
        aliased=memory.alias_size_in_bytes,
        host=memory.host_temp_size_in_bytes + memory.host_argument_size_in_bytes,
        flops=program.flops(),
        kernels=program.kernels(),
        collectives=program.collectives(mesh.shape),
        seconds=time.monotonic() - started,
    )


AMOUNT = r"([\d.]+)([KMGT]?)"
TOO_MUCH = re.compile(
    rf"{AMOUNT}\)?(?: of| exceeds available HBM) \(?{AMOUNT}(?: hbm|\))", re.IGNORECASE
)
UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def _out_of_memory(error: Exception) -> Exception:
    """`Used 48.40G of 15.75G hbm` or `(31.26G) exceeds available HBM (15.75G)` as
    numbers; any other failure as it is."""
    text = str(error)
    found = TOO_MUCH.search(text)
    if "RESOURCE_EXHAUSTED" not in text or found is None:
        return error
    needed, unit, available, other = found.groups()
    return OutOfMemory(float(needed) * UNITS[unit], float(available) * UNITS[other])
