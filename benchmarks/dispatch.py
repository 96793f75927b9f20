"""What a train step costs the host beside the computing: a model of almost no work.

    .venv/bin/python benchmarks/dispatch.py [--steps 500]

The step that `train` runs, with all its parameters, moments and EMA, of a DiT one layer
deep and 8 wide. `call` is until the call returns, `done` until its result is there.
JAX's guard forbids any transfer between host and device that nobody asked for, and
nothing may be compiled twice. Writes benchmarks/results/dispatch.json.
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
from benchmarks.parts.report import Report  # noqa: E402

WANTED_US = 500
TINY = {"depth": 1, "width": 8, "num_heads": 1, "mlp_ratio": 1.0, "remat": "none"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=500)
    steps = parser.parse_args().steps
    report = Report("dispatch")
    made = training.make("s/2", batch_size=1, latents=(1, 2, 2, 1), **TINY)
    made.step()
    made.step()
    calls, done = [], []
    with jax.transfer_guard("disallow"):
        for _ in range(steps):
            start = time.perf_counter()
            made.state, _ = made.run.train_step(made.state, made.batch)
            calls.append(time.perf_counter() - start)
            jax.block_until_ready(made.state)
            done.append(time.perf_counter() - start)
    call_us, done_us = (1e6 * statistics.median(times) for times in (calls, done))
    compiled = made.run.train_step._cache_size()
    report.write(
        {
            "steps": steps,
            "arrays_in_state": len(jax.tree.leaves(made.state)),
            "call_median_us": round(call_us),
            "call_least_us": round(1e6 * min(calls)),
            "done_median_us": round(done_us),
            "times_compiled": compiled,
            "unasked_transfers": 0,  # one would have raised
            "wanted_call_us": WANTED_US,
            "is_wanted_met": call_us <= WANTED_US and compiled == 1,
        }
    )
    print(f"call {call_us:.0f} us, done {done_us:.0f} us, compiled {compiled} time(s)")


if __name__ == "__main__":
    main()
