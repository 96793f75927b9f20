"""The demo from nothing: its table and how long each part took.

    .venv/bin/python benchmarks/demo.py [--output runs/demo-proof]

Runs `python -m dit_jax.demo` into a new folder and writes benchmarks/results/demo.json.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "demo.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", default="runs/demo-proof")
    output = ROOT / parser.parse_args().output
    shutil.rmtree(output, ignore_errors=True)
    command = [sys.executable, "-m", "dit_jax.demo", f"--output={output}"]
    start = time.monotonic()
    subprocess.run(command, cwd=ROOT, check=True)
    seconds = time.monotonic() - start
    table = json.loads((output / "evaluations" / "summary.json").read_text())
    lines = (output / "train" / "metrics.jsonl").read_text().splitlines()
    rates = [json.loads(line).get("steps_per_s") for line in lines]
    result = {
        "command": "python -m dit_jax.demo",
        "seconds": round(seconds, 1),
        "steps_per_s_median": sorted(rate for rate in rates if rate)[len(rates) // 2],
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "table": table,
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2, sort_keys=True) + "\n")
    print(f"wrote {RESULT}")


if __name__ == "__main__":
    main()
