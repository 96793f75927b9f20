"""How much of the machine's best matmul rate the train step reaches (MFU on a CPU).

    .venv/bin/python benchmarks/matmul_share.py [--rounds 5]

float32, DiT-S/2 and DiT-B/4 at batch 8. The rate to be held against is the best that
any single product of the model's shapes reaches, [B N, K] x [K, M] of q, k, v, of the
attention's output and of both layers of the MLP, measured in turns with the step.
FLOPs of a step are three times the forward pass, products only.
Writes benchmarks/results/matmul_share.json.
"""

import argparse
import os
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from dit_jax import host_memory  # noqa: E402

host_memory.keep_freed()  # as programs do, before all imports

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from benchmarks.parts import training  # noqa: E402
from benchmarks.parts.report import Report, seconds, summary  # noqa: E402

SIZES = ("s/2", "b/4")
BATCH = 8
WANTED = 0.7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    report = Report("matmul_share")
    models = {f"dit-{size}": measure(size, rounds) for size in SIZES}
    shares = {name: model["share_of_best_matmul"] for name, model in models.items()}
    report.write(
        {
            "batch_size": BATCH,
            "rounds": rounds,
            "models": models,
            "wanted_share": WANTED,
            "is_wanted_met": min(shares.values()) >= WANTED,
        }
    )
    print(f"share of the best matmul rate: {shares}")


def measure(size: str, rounds: int) -> dict[str, Any]:
    made = training.make(size, batch_size=BATCH, remat="none")
    made.step()
    products = {
        "x".join(map(str, shape)): timed_product(*shape) for shape in shapes(made)
    }
    rates: dict[str, float] = dict.fromkeys(products, 0.0)
    steps = []
    for _ in range(rounds):
        for name, rate in products.items():
            rates[name] = max(rates[name], rate())
        steps.append(seconds(made.step))
    best = max(rates.values())
    rate = made.run.flops_per_step / statistics.median(steps)
    return {
        "step": summary(steps),
        "gflop_per_step": round(made.run.flops_per_step / 1e9, 1),
        "gflop_per_s": round(rate / 1e9, 1),
        "best_gflop_per_s_of_product": {
            name: round(value / 1e9, 1) for name, value in rates.items()
        },
        "share_of_best_matmul": round(rate / best, 3),
    }


def shapes(made: training.Training) -> list[tuple[int, int, int]]:
    """(rows, in, out) of the products of a block."""
    rows = made.run.tokens_per_step
    blocks = made.state.params["stack"]["blocks"]
    kernels = [
        leaf.shape[1:]
        for path, leaf in jax.tree_util.tree_flatten_with_path(blocks)[0]
        if path[-1].key == "kernel"
    ]
    return [(rows, *kernel) for kernel in sorted(set(kernels))]


def timed_product(rows: int, num_in: int, num_out: int) -> Callable[[], float]:
    """A function that multiplies a few times and gives the best FLOP/s."""
    key_x, key_w = jax.random.split(jax.random.key(0))
    x = jax.random.normal(key_x, (rows, num_in), jnp.float32)
    kernel = jax.random.normal(key_w, (num_in, num_out), jnp.float32)
    multiply = jax.jit(jnp.matmul)
    multiply(x, kernel).block_until_ready()

    def rate() -> float:
        best = min(
            seconds(lambda: multiply(x, kernel).block_until_ready()) for _ in range(5)
        )
        return 2.0 * rows * num_in * num_out / best

    return rate


if __name__ == "__main__":
    main()
