"""The demo's model trains from a bucket: how long it waits for data.

    .venv/bin/python benchmarks/s3_training.py [--steps 500] [--cache_bytes 4000000]

Prepares the demo's dataset in a bucket of a server on loopback, by `--store zarr`, and
trains the demo's model from it. The server, the preparing of batches and the training
share the cores. The demo is so small that memory would hold all of it after one epoch;
here memory for what was read is 4 MB unless told otherwise, so that nearly all records
of all steps are requests. Writes benchmarks/results/s3_training.json.
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
from dit_jax.data import manifest as manifest_lib  # noqa: E402
from tests import s3_server  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "s3_training.json"
URL = f"s3://{s3_server.BUCKET}/demo"
EVERY = 20  # steps of a line of metrics.jsonl
TRAIN = """
from dit_jax import buckets, program, train
buckets.CACHE_BYTES = {}
program.run(train.main)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--cache_bytes", type=int, default=4_000_000)
    steps, cache_bytes = vars(parser.parse_args()).values()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as scratch, s3_server.serve() as endpoint:
        os.environ |= s3_server.environment(endpoint)
        # The server copies a whole object for every range of it: small ones.
        small = "--config.prepare.records_per_shard=16"
        run("-m", "dit_jax.prepare", f"--output={URL}", "--store=zarr", small)
        workdir = Path(scratch) / "run"
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
        splits = manifest_lib.read(URL).splits
    lines = [json.loads(line) for line in text.splitlines()]
    # The first line has no rates: it compiles.
    waits = [line["data_wait_share"] for line in lines if "data_wait_share" in line]
    result = {
        "command": "python benchmarks/s3_training.py",
        "steps": steps,
        "batch_size": demo.get_config().train.batch_size,
        "records": splits,
        "data_wait_share": round(statistics.mean(waits), 4),
        "data_wait_share_worst_20_steps": round(max(waits), 4),
        "wanted_data_wait_share": 0.05,
        "steps_per_s": round(
            statistics.median(x["steps_per_s"] for x in lines if "steps_per_s" in x), 2
        ),
        "cache_bytes": cache_bytes,
        "load_average_before": round(load, 2),
        "beside_other_work": load > 0.7,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
    }
    RESULT.write_text(json.dumps(result, indent=2, sort_keys=True) + "\n")
    print(f"waits {result['data_wait_share']:.1%} of the time; wrote {RESULT}")


def run(how: str, what: str, *flags: str) -> None:
    command = [sys.executable, how, what, "--config=configs/demo.py", *flags]
    subprocess.run(command, cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
