"""What a step on a CPU takes from the system, in a process of its own."""

import ctypes
import itertools
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from dit_jax import host_memory

ROOT = Path(__file__).parents[1]
STEPS = """
import resource, sys

sys.argv, sys.orig_argv = sys.argv[1:2], sys.argv[2:]
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
    program = fresh_pages("-m", "python", "-m", "dit_jax.train")
    assert program < fresh_pages("notebook.py") / 10
    assert program < fresh_pages("-m", "python", "-m", "another.train") / 10


def fresh_pages(*names: str) -> float:
    """Of the median step: at first the heap still grows."""
    told = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", STEPS, *names]
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


class Libc:
    """The C library; it writes down what it is told."""

    def __init__(self):
        self.settings: dict[int, int] = {}

    def mallopt(self, name: int, value: int) -> int:
        self.settings[name] = value
        return 1


@pytest.fixture
def libc(monkeypatch):
    library = Libc()
    monkeypatch.setattr("ctypes.CDLL", lambda name: library)
    monkeypatch.setattr("sys.platform", "linux")
    return library


@pytest.mark.parametrize(
    "plugins, libtpu, is_cpu",
    [([], None, True), (["cuda"], None, False), ([], 1, False)],
)
def test_without_a_setting_the_installed_compilers_decide(
    plugins, libtpu, is_cpu, libc, monkeypatch
):
    monkeypatch.delenv("JAX_PLATFORMS")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: plugins)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: libtpu)
    assert host_memory.keep_freed() == bool(libc.settings) == is_cpu


def test_nothing_that_is_free_at_the_end_is_given_back(libc, monkeypatch):
    """The largest limit that malloc takes, 2 GB, is one that large models pass."""
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    host_memory.keep_freed()
    assert libc.settings[host_memory.M_TRIM_THRESHOLD] == -1
