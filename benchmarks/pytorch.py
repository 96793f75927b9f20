"""Our train step of DiT-S/2 against the same training in PyTorch, eager and compiled.

    make venv-benchmarks
    .venv/bin/python benchmarks/pytorch.py [--rounds 9]

float32, latents 32x32x4 (256 px), batch 8. A step on each side: draw noise, times and
dropped labels, forward, squared error, backward, AdamW, EMA. Ours is the jitted step
that `train` runs, without remat; theirs is diffusers' DiT of the same sizes. Parameters
and FLOPs are counted on both sides, and output, loss and gradient of the same weights
compared, before anything is timed.

Each side is a process of its own, with threads for all cores that this one may use (two
unless --cores says otherwise); they take turns, a step each, and wait idle between.
Writes benchmarks/results/pytorch.json.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.parts.report import Report, summary  # noqa: E402
from benchmarks.parts.served import Side  # noqa: E402

THEIRS = ROOT / ".venv-benchmarks" / "bin" / "python"
WANTED, TARGET = 1.05, 0.75


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--torch_python", default=str(THEIRS))
    options = parser.parse_args()
    if not Path(options.torch_python).exists():
        sys.exit(f"{options.torch_python} is missing; run make venv-benchmarks")
    report = Report("pytorch")
    cores = sorted(os.sched_getaffinity(0))[: options.cores]
    os.sched_setaffinity(0, cores)  # the sides inherit it
    with tempfile.TemporaryDirectory() as exchange:
        sides, missing = start(exchange, options)
        timings = measure(sides, options.rounds)
    medians = {
        name: statistics.median(step["seconds"] for step in steps)
        for name, steps in timings.items()
    }
    ratios = {
        name: round(medians["ours"] / medians[name], 3)
        for name in sides
        if name != "ours"
    }
    report.write(
        {
            "batch_size": options.batch_size,
            "rounds": options.rounds,
            "cores_used": len(cores),
            "sides": {name: side.facts for name, side in sides.items()},
            "step": {name: described(steps) for name, steps in timings.items()},
            "ratio": ratios,
            "wanted_ratio_eager": WANTED,
            "target_ratio_eager": TARGET,
            "is_wanted_met": ratios["eager"] <= WANTED,
            "is_target_met": ratios["eager"] <= TARGET,
            "not_run": missing,
        }
    )
    print(f"ours / theirs: {ratios}")


def start(exchange: str, options: Any) -> tuple[dict[str, Side], dict[str, str]]:
    """The sides, warm, and why one is missing."""
    given = f"--exchange={exchange}"
    ours = "benchmarks.parts.jax_side", given, f"--batch_size={options.batch_size}"
    sides = {"ours": Side(sys.executable, *ours)}
    missing = {}
    for how in ("eager", "compiled"):
        if how == "compiled" and not any(map(shutil.which, ("c++", "g++", "clang++"))):
            missing[how] = "torch.compile needs a C++ compiler, and there is none"
            continue
        theirs = "benchmarks.parts.torch_side", given, f"--how={how}"
        sides[how] = Side(options.torch_python, *theirs)
        check(sides["ours"].facts, sides[how].facts)
    return sides, missing


def check(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Both sides are the same model."""
    assert ours["parameters"] == theirs["parameters"], (ours, theirs)
    assert abs(ours["forward_flops"] / theirs["forward_flops"] - 1) < 0.01
    far = theirs["differences"]
    assert far["output_max_absolute"] < 1e-4 * far["output_max"], far
    assert max(far["loss_relative"], far["gradient_norm_relative"]) < 1e-4, far


def measure(sides: dict[str, Side], rounds: int) -> dict[str, list[dict[str, float]]]:
    """Steps in turns; the first of each is not kept."""
    timings: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for _ in range(rounds + 1):
        for name, side in sides.items():
            timings[name].append(side.step())
    for side in sides.values():
        side.close()
    return {name: steps[1:] for name, steps in timings.items()}


def described(steps: list[dict[str, float]]) -> dict[str, float]:
    cpu = statistics.median(step["cpu_seconds"] for step in steps)
    wall = summary([step["seconds"] for step in steps])
    return wall | {"median_cpu_ms": round(1e3 * cpu, 1)}


if __name__ == "__main__":
    main()
