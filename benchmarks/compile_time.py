"""Compile time of the train step at 28 and at 4 layers.

    .venv/bin/python benchmarks/compile_time.py [--rounds 5]

Tracing, lowering and compiling the step of DiT-S/2 for this machine, from nothing each
time and in turns; no compilation cache. Layers are scanned, so depth should not matter.
Writes benchmarks/results/compile_time.json.
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax  # noqa: E402

from benchmarks.parts import training  # noqa: E402
from benchmarks.parts.report import Report, summary  # noqa: E402

DEPTHS = (4, 28)
WANTED = 1.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    jax.config.update("jax_enable_compilation_cache", False)
    report = Report("compile_time")
    compile_step(DEPTHS[0])  # imports and first uses are nobody's
    timings: dict[int, list[float]] = {depth: [] for depth in DEPTHS}
    for _ in range(rounds):
        for depth in DEPTHS:
            timings[depth].append(compile_step(depth))
    few, many = (statistics.median(timings[depth]) for depth in DEPTHS)
    report.write(
        {
            "rounds": rounds,
            "layers": {str(depth): summary(times) for depth, times in timings.items()},
            "ratio_28_to_4": round(many / few, 3),
            "wanted_ratio": WANTED,
            "is_wanted_met": many / few <= WANTED,
        }
    )
    print(f"4 layers {few:.1f} s, 28 layers {many:.1f} s: {many / few:.2f}")


def compile_step(depth: int) -> float:
    """Seconds from the function to the executable."""
    jax.clear_caches()
    run = training.assemble("s/2", batch_size=8, depth=depth, remat="none")
    start = time.perf_counter()
    run.train_step.lower(run.abstract_state, run.abstract_batch).compile()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
