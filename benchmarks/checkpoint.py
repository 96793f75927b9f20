"""Saving and restoring a training of about 1 GB against the raw disk.

    .venv/bin/python benchmarks/checkpoint.py [--rounds 5] [--folder DIR]

The state that `train` saves (parameters, EMA, both moments of AdamW; noise, which does
not compress) through the same functions. Raw is one file of the same bytes, written and
synced, and read again. Before every read, the system is asked to drop its copies of the
files. In turns, in one process. `stall` is how long the call that starts a save holds
up the training. Writes benchmarks/results/checkpoint.json.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax  # noqa: E402
import numpy as np  # noqa: E402

from benchmarks.parts import training  # noqa: E402
from benchmarks.parts.report import Report, seconds, summary  # noqa: E402
from dit_jax.checkpoints import Checkpoints  # noqa: E402
from dit_jax.training import state as state_lib  # noqa: E402
from dit_jax.training.state import TrainState  # noqa: E402

DEPTH = 24  # of DiT-S: 63 M parameters, 1.0 GB with what belongs to them
PIECE = 64 << 20  # bytes of a raw write
WANTED_SHARE, WANTED_STALL = 0.6, 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", default=None, help="on the disk to be measured")
    options = parser.parse_args()
    report = Report("checkpoint")
    run = training.assemble("s/2", batch_size=8, depth=DEPTH)
    state = noise(run.init())
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        timings = measure(Path(folder), state, run.abstract_state, options.rounds)
    medians = {name: statistics.median(times) for name, times in timings.items()}
    shares = {
        "save": round(medians["raw_write"] / medians["save"], 3),
        "restore": round(medians["raw_read"] / medians["restore"], 3),
    }
    stalls = [a / b for a, b in zip(timings["stall"], timings["save"], strict=True)]
    stall = round(statistics.median(stalls), 4)
    report.write(
        {
            "rounds": options.rounds,
            "bytes": state_lib.num_bytes(state),
            "seconds": {name: summary(times) for name, times in timings.items()},
            "share_of_raw": shares,
            "stall_share_of_save": stall,
            "wanted_share_of_raw": WANTED_SHARE,
            "wanted_stall_share_of_save": WANTED_STALL,
            "is_wanted_met": min(shares.values()) >= WANTED_SHARE
            and stall <= WANTED_STALL,
        },
        ("jax", "orbax-checkpoint", "tensorstore"),
    )
    print(f"share of raw: {shares}; the loop stalls for {stall:.1%} of a save")


def measure(
    folder: Path, state: TrainState, abstract: TrainState, rounds: int
) -> dict[str, list[float]]:
    """Seconds of every round; one more at the start is not kept."""
    raw, workdir = folder / "raw", folder / "run"
    names = ("raw_write", "raw_read", "save", "restore", "stall")
    timings: dict[str, list[float]] = {name: [] for name in names}
    for step in range(1, rounds + 2):
        timings["raw_write"].append(seconds(lambda: write_raw(raw, state)))
        shutil.rmtree(workdir, ignore_errors=True)
        with_checkpoints = Checkpoints(workdir, keep=1)
        start = time.perf_counter()
        state_lib.save(with_checkpoints, state, step)
        timings["stall"].append(time.perf_counter() - start)
        with_checkpoints.wait()
        timings["save"].append(time.perf_counter() - start)
        forget([raw, *workdir.rglob("*")])
        timings["raw_read"].append(seconds(lambda: raw.read_bytes()))
        start = time.perf_counter()
        restored = state_lib.restore(with_checkpoints, step, abstract)
        jax.block_until_ready(restored)
        timings["restore"].append(time.perf_counter() - start)
        with_checkpoints.close()
        check(state, restored)
        del restored
    return {name: times[1:] for name, times in timings.items()}


def noise(state: TrainState) -> TrainState:
    """The same shapes; floats become noise, counters stay."""
    rng = np.random.default_rng(0)

    def fill(leaf: Any) -> Any:
        if not np.issubdtype(leaf.dtype, np.floating):
            return leaf
        values = rng.standard_normal(leaf.shape, np.float32).astype(leaf.dtype)
        return jax.device_put(values, leaf.sharding)

    return jax.tree.map(fill, state)


def write_raw(path: Path, state: TrainState) -> None:
    with path.open("wb") as file:
        for leaf in jax.tree.leaves(state):
            content = memoryview(np.asarray(leaf).reshape(-1).view(np.uint8))
            for start in range(0, len(content), PIECE):
                file.write(content[start : start + PIECE])
        file.flush()
        os.fsync(file.fileno())


def forget(paths: Iterable[Path]) -> None:
    """Drops clean copies in memory, where the system can be asked to."""
    if not hasattr(os, "posix_fadvise"):
        return
    os.sync()
    for path in paths:
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def check(state: TrainState, restored: TrainState) -> None:
    """What came back is what was saved, but for the step, which the folder names."""
    for one, other in zip(
        jax.tree.leaves((state.params, state.ema, state.opt_state)),
        jax.tree.leaves((restored.params, restored.ema, restored.opt_state)),
        strict=True,
    ):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


if __name__ == "__main__":
    main()
