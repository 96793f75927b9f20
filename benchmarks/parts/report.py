"""What every measurement says of itself: how it was run, on what, beside what."""

import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
BUSY = 0.7  # load average from which on somebody else was computing


class Report:
    """Collects a result; make one before anything is measured, for the load.

    script: whose result it is, where that has another name.
    """

    def __init__(self, name: str, script: str | None = None):
        self.name, self.script = name, script or name
        self.load = os.getloadavg()[0]

    def write(self, result: dict[str, Any], packages: Sequence[str] = ("jax",)) -> None:
        """Writes benchmarks/results/NAME.json and says so."""
        facts = {
            "command": " ".join(
                ["python", f"benchmarks/{self.script}.py", *sys.argv[1:]]
            ),
            "load_average_before": round(self.load, 2),
            "beside_other_work": self.load > BUSY,
            "cores": os.cpu_count(),
            "machine": platform.machine(),
            "processor": processor(),
            "python": platform.python_version(),
            "versions": {name: importlib.metadata.version(name) for name in packages},
        }
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{self.name}.json"
        text = json.dumps(facts | result, indent=2, sort_keys=True)
        path.write_text(text + "\n")
        print(f"wrote {path}")


def processor() -> str:
    """The name that the kernel has for it, where there is one."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.processor()


def seconds(function: Callable[[], Any]) -> float:
    """That one call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def summary(seconds: Sequence[float]) -> dict[str, float]:
    """Milliseconds of a row of timings."""
    return {
        "median_ms": round(1e3 * statistics.median(seconds), 3),
        "least_ms": round(1e3 * min(seconds), 3),
        "most_ms": round(1e3 * max(seconds), 3),
    }
