"""A long clip's attention in little memory, measured in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_65536_tokens_forward_and_backward_take_less_than_8_gib():
    """One head of 64 channels, chunked, on the CPU; some rows equal float64's."""
    command = [sys.executable, "-m", "benchmarks.attention_memory", "--tokens=65536"]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    row = json.loads(done.stdout.splitlines()[-1])
    assert row["peak_rss_bytes"] < 8 * 2**30
    assert row["largest_relative_error"] < 1e-5
