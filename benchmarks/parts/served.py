"""A side of a comparison in a process of its own, which does one step when asked.

The side says its facts in a line of JSON, then answers every line it reads with the
seconds of one step. Two sides so served do not share threads, memory or packages, and
one waits idle while the other works. Standard library only: every environment has it.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DTYPES = ("float32", "bfloat16")
SIZES = {
    "s/2": {"hidden_size": 384, "depth": 12, "num_heads": 6},
    "xl/2": {"hidden_size": 1152, "depth": 28, "num_heads": 16},
}


def serve(facts: dict[str, Any], step: Callable[[], None]) -> None:
    """The side's end. What anybody prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    print(json.dumps(facts), file=answers)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        step()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(json.dumps({"seconds": wall, "cpu_seconds": cpu}), file=answers)


class Side:
    """The other end of `python -m MODULE ARGUMENTS`, run by `interpreter`."""

    def __init__(self, interpreter: str, module: str, *arguments: str):
        self.process = subprocess.Popen(
            [interpreter, "-m", module, *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.facts = self._answer()

    def step(self) -> dict[str, float]:
        """Wall-clock seconds of one step, and those of all cores together."""
        assert self.process.stdin is not None
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.process.communicate()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args} ended with {self.process.wait()}")
        return json.loads(line)
