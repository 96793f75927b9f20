"""What every program does before it starts JAX."""

import os
import subprocess
import sys

import pytest

PATIENT = "--xla_cpu_collective_call_terminate_timeout_seconds"
SAYS_FLAGS = """
import os
from dit_jax import program
program.run(lambda words: print(os.environ.get("XLA_FLAGS", "none")), ["program"])
"""


@pytest.mark.parametrize(
    ("platforms", "given", "wanted"),
    [
        ("cpu", "", f"{PATIENT}=600"),
        ("cpu", "--xla_dump_to=x", f"--xla_dump_to=x {PATIENT}=600"),
        ("cpu", f"{PATIENT}=7", f"{PATIENT}=7"),
        ("cuda", "--xla_dump_to=x", "--xla_dump_to=x"),
    ],
)
def test_devices_of_a_busy_cpu_have_time_to_meet(platforms, given, wanted):
    """XLA ends a process one of whose CPU devices is 40 s late for the others."""
    environment = os.environ | {"JAX_PLATFORMS": platforms, "XLA_FLAGS": given}
    done = subprocess.run(
        [sys.executable, "-c", SAYS_FLAGS],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == wanted
