"""The demo's model trains from a bucket: how long it waits for data.

    .venv/bin/python benchmarks/s3_training.py [--steps 500]

Prepares the demo's dataset in a bucket of a server on loopback, by `--store zarr`, and
trains the demo's model from it. The server, the preparing of batches and the training
share the cores. Twice: as it is shipped, when what was read once stays in memory, and
with 4 MB of memory, so that nearly all records of all steps are requests. Writes
benchmarks/results/s3_training.json.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.parts.report import Report  # noqa: E402
from configs import demo  # noqa: E402
from dit_jax import buckets  # noqa: E402
from dit_jax.data import manifest as manifest_lib  # noqa: E402
from tests import s3_server  # noqa: E402

URL = f"s3://{s3_server.BUCKET}/demo"
EVERY = 20  # steps of a line of metrics.jsonl
WANTED = 0.05
MEMORY = {"shipped": buckets.CACHE_BYTES, "4 MB": 4_000_000}
TRAIN = """
from dit_jax import buckets, program, train
buckets.CACHE_BYTES = {}
program.run(train.main)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=500)
    steps = parser.parse_args().steps
    report = Report("s3_training")
    with tempfile.TemporaryDirectory() as scratch, s3_server.serve() as endpoint:
        os.environ |= s3_server.environment(endpoint)
        # The server copies a whole object for every range of it: small ones.
        small = "--config.prepare.records_per_shard=16"
        run("-m", "dit_jax.prepare", f"--output={URL}", "--store=zarr", small)
        found = {
            name: trained(Path(scratch) / name, steps, cache_bytes)
            for name, cache_bytes in MEMORY.items()
        }
        splits = manifest_lib.read(URL).splits
    wait = found["shipped"]["data_wait_share"]
    result = {
        "steps": steps,
        "batch_size": demo.get_config().train.batch_size,
        "records": splits,
        "runs": found,
        "wanted_data_wait_share": WANTED,
        "is_wanted_met": wait < WANTED,
    }
    report.write(result, ("jax", "tensorstore"))
    waits = {name: run["data_wait_share"] for name, run in found.items()}
    print(f"shares of the time that waited for data: {waits}")


def trained(workdir: Path, steps: int, cache_bytes: int) -> dict[str, float]:
    run(
        "-c",
        TRAIN.format(cache_bytes),
        f"--workdir={workdir}",
        f"--config.data.path={URL}",
        f"--config.train.num_steps={steps}",
        f"--config.log.every_steps={EVERY}",
        f"--config.validation.every_steps={steps}",
        "--config.log.tensorboard=False",
    )
    text = (workdir / "metrics.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    lines = [line for line in lines if "data_wait_share" in line]  # not the first
    waits = [line["data_wait_share"] for line in lines]
    return {
        "cache_bytes": cache_bytes,
        "data_wait_share": round(statistics.mean(waits), 4),
        "data_wait_share_worst_20_steps": round(max(waits), 4),
        "steps_per_s": round(statistics.median(x["steps_per_s"] for x in lines), 2),
    }


def run(how: str, what: str, *flags: str) -> None:
    command = [sys.executable, how, what, "--config=configs/demo.py", *flags]
    subprocess.run(command, cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
