r"""Our train step of DiT-S/2 against the same training in PyTorch, eager and compiled.

    make venv-benchmarks
    .venv/bin/python benchmarks/pytorch.py [--rounds 9]
    python benchmarks/pytorch.py --device=cuda --size=xl/2 --dtype=bfloat16 \
        --batch_size=32 --rounds=20 --torch_python=python

Latents 32x32x4 (256 px); float32 and batch 8 unless told otherwise. A step on each
side: draw noise, times and dropped labels, forward, squared error, backward, AdamW,
EMA. Ours is the jitted step that `train` runs, without remat; theirs is diffusers' DiT
of the same sizes. Parameters and FLOPs are counted on both sides, and output, loss and
gradient of the same weights compared, before anything is timed.

Each side is a process of its own, with threads for all cores that this one may use (two
unless --cores says otherwise); they take turns, a step each, and wait idle between.
Writes benchmarks/results/pytorch.json, or pytorch_cuda.json from an NVIDIA GPU, where
both packages must have been installed for it and bfloat16 is autocast on their side.
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

from benchmarks.parts import served  # noqa: E402
from benchmarks.parts.report import Report, summary  # noqa: E402
from benchmarks.parts.served import Side  # noqa: E402

THEIRS = ROOT / ".venv-benchmarks" / "bin" / "python"
WANTED, TARGET = 1.05, 0.75
NEAR = {"float32": 1e-4, "bfloat16": 3e-2}  # of the outputs, relative


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--torch_python", default=str(THEIRS))
    parser.add_argument("--size", choices=served.SIZES, default="s/2")
    parser.add_argument("--dtype", choices=served.DTYPES, default="float32")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    if shutil.which(options.torch_python) is None:
        sys.exit(f"{options.torch_python} is missing; run make venv-benchmarks")
    on_gpu = options.device == "cuda"
    report = Report("pytorch_cuda" if on_gpu else "pytorch", script="pytorch")
    os.environ["JAX_PLATFORMS"] = options.device
    os.environ["XLA_PYTHON_CLIENT_MEM_FRACTION"] = "0.3"  # the sides share a GPU
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
    wanted = {
        "wanted_ratio_eager": WANTED,
        "target_ratio_eager": TARGET,
        "is_wanted_met": ratios["eager"] <= WANTED,
        "is_target_met": ratios["eager"] <= TARGET,
    }
    report.write(
        {
            "model": f"dit-{options.size}",
            "dtype": options.dtype,
            "batch_size": options.batch_size,
            "rounds": options.rounds,
            "cores_used": len(cores),
            "sides": {name: side.facts for name, side in sides.items()},
            "step": {name: described(steps) for name, steps in timings.items()},
            "ratio": ratios,
            "not_run": missing,
        }
        | ({} if on_gpu else wanted)
    )
    print(f"ours / theirs: {ratios}")


def start(exchange: str, options: Any) -> tuple[dict[str, Side], dict[str, str]]:
    """The sides, warm, and why one is missing."""
    given = (
        f"--exchange={exchange}",
        f"--size={options.size}",
        f"--dtype={options.dtype}",
    )
    batch = f"--batch_size={options.batch_size}"
    sides = {"ours": Side(sys.executable, "benchmarks.parts.jax_side", *given, batch)}
    missing = {}
    for how in ("eager", "compiled"):
        if how == "compiled" and not any(map(shutil.which, ("c++", "g++", "clang++"))):
            missing[how] = "torch.compile needs a C++ compiler, and there is none"
            continue
        told = *given, f"--how={how}", f"--device={options.device}"
        sides[how] = Side(options.torch_python, "benchmarks.parts.torch_side", *told)
        check(sides["ours"].facts, sides[how].facts, NEAR[options.dtype])
    return sides, missing


def check(ours: dict[str, Any], theirs: dict[str, Any], near: float) -> None:
    """Both sides are the same model."""
    assert ours["parameters"] == theirs["parameters"], (ours, theirs)
    assert abs(ours["forward_flops"] / theirs["forward_flops"] - 1) < 0.01
    far = theirs["differences"]
    assert far["output_max_absolute"] < near * far["output_max"], far
    assert max(far["loss_relative"], far["gradient_norm_relative"]) < near, far


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
