"""The demo's model trains from a bucket: how long it waits for data.

    .venv/bin/python benchmarks/s3_training.py [--steps 500]

Prepares the demo's dataset in a bucket of a server on loopback, by `--store zarr`, and
trains the demo's model from it by the programs themselves. The server, the preparing of
batches and the training share the cores. Records that were read stay in memory as far
as `buckets.CACHE_BYTES` goes, so the first epoch is told apart: all of it is requests.
Writes benchmarks/results/s3_training.json.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from configs import demo  # noqa: E402
from dit_jax import buckets  # noqa: E402
from dit_jax.data import manifest as manifest_lib  # noqa: E402
from dit_jax.data.reader import Reader  # noqa: E402
from tests import s3_server  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "s3_training.json"
URL = f"s3://{s3_server.BUCKET}/demo"
EVERY = 20  # steps of a line of metrics.jsonl


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=500)
    steps = parser.parse_args().steps
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as scratch, s3_server.serve() as endpoint:
        os.environ |= s3_server.environment(endpoint)
        # The server copies a whole object for every range of it: small ones.
        small = "--config.prepare.records_per_shard=16"
        run("prepare", f"--output={URL}", "--store=zarr", small)
        workdir = Path(scratch) / "run"
        run(
            "train",
            f"--workdir={workdir}",
            f"--config.data.path={URL}",
            f"--config.train.num_steps={steps}",
            f"--config.log.every_steps={EVERY}",
            f"--config.validation.every_steps={steps}",
            "--config.log.tensorboard=False",
        )
        text = (workdir / "metrics.jsonl").read_text()
        visits = epoch_visits()
        splits = manifest_lib.read(URL).splits
    lines = [json.loads(line) for line in text.splitlines()]
    waits = {x["step"]: x["data_wait_share"] for x in lines if "data_wait_share" in x}
    waits.pop(min(waits))  # compiles
    batch = demo.get_config().train.batch_size
    first = [share for step, share in waits.items() if step * batch <= visits]
    result = {
        "command": "python benchmarks/s3_training.py",
        "steps": steps,
        "batch_size": batch,
        "records": splits,
        "visits_of_an_epoch": visits,
        "data_wait_share": round(statistics.mean(waits.values()), 4),
        "data_wait_share_first_epoch": round(statistics.mean(first), 4),
        "data_wait_share_worst_20_steps": round(max(waits.values()), 4),
        "wanted_data_wait_share": 0.05,
        "steps_per_s": round(
            statistics.median(x["steps_per_s"] for x in lines if "steps_per_s" in x), 2
        ),
        "cache_bytes": buckets.CACHE_BYTES,
        "load_average_before": round(load, 2),
        "beside_other_work": load > 0.7,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
    }
    RESULT.write_text(json.dumps(result, indent=2, sort_keys=True) + "\n")
    print(f"waits {result['data_wait_share']:.1%} of the time; wrote {RESULT}")


def run(verb: str, *flags: str) -> None:
    command = [sys.executable, "-m", f"dit_jax.{verb}", "--config=configs/demo.py"]
    subprocess.run([*command, *flags], cwd=ROOT, check=True)


def epoch_visits() -> int:
    repeats = demo.get_config().data.repeats
    return sum(repeats[int(source)] for source in Reader(URL, "train").column("source"))


if __name__ == "__main__":
    main()
