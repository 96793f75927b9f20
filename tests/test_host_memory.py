"""What a step on a CPU takes from the system, in a process of its own."""

import ctypes
import itertools
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STEPS = """
import resource, sys

sys.argv[0] = sys.argv[1]
import dit_jax
import jax, jax.numpy as jnp

step = jax.jit(lambda x: (x @ x.T) @ x)  # between the products, 268 MB
x = jnp.ones((8192, 8))
for _ in range(12):
    step(x).block_until_ready()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc"
)
def test_a_program_keeps_its_pages_and_an_import_changes_nothing():
    """`python -m dit_jax.train` has "-m" for its name while the package is imported."""
    assert fresh_pages("-m") < fresh_pages("notebook.py") / 10


def fresh_pages(name: str) -> float:
    """Of the median step: at first the heap still grows."""
    told = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", STEPS, name]
    done = subprocess.run(command, env=told, capture_output=True, text=True, check=True)
    so_far = [int(line) for line in done.stdout.split()]
    return statistics.median(b - a for a, b in itertools.pairwise(so_far))


@pytest.mark.parametrize("platforms", ["tpu,cpu", "cuda"])
def test_a_host_with_accelerators_is_left_as_it_is(platforms):
    code = "from dit_jax import host_memory; print(host_memory.keep_freed())"
    told = os.environ | {"JAX_PLATFORMS": platforms, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=told, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
