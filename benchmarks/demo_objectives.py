"""What the demo learns with another process and another prediction, at equal time.

    .venv/bin/python benchmarks/demo_objectives.py [--output runs/objectives]

Trains the demo's network on the demo's clips once for each of PROCESSES x PREDICTIONS,
with nothing but `diffusion.*` changed, for STEPS steps each: the same network and
batch, and so the same time. The error is taken in what is predicted, at times that are
usual for the process. Samples NUM clips with the demo's own settings and measures
their FVD from the demo's reference clips. Continues where it stopped; writes
benchmarks/results/demo_objectives.json.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from dit_jax import demo, files
from dit_jax.data.pixels import clips_of_records
from dit_jax.data.reader import Reader
from dit_jax.evaluation.features import Extractor
from dit_jax.evaluation.fvd import fvd

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "demo_objectives.json"
CONFIG = "configs/demo.py"
STEPS = 1200
PREDICTIONS = ("eps", "x0", "v", "velocity")
PROCESSES = {
    "ddpm_linear": {"times": "uniform"},
    "variance_preserving": {"times": "uniform"},
    "rectified_flow": {},  # the demo's times
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", default="runs/objectives")
    output = ROOT / parser.parse_args().output
    data = output / "data"
    run("prepare", f"--config={CONFIG}", f"--output={data}")
    reader = Reader(str(data), "train")
    drawn = np.random.default_rng(0).permutation(len(reader))[: demo.NUM]
    reference = clips_of_records(str(data), drawn.tolist())
    known = np.array([int(reader[i]["label"]) for i in range(len(reader))])
    labels = demo.proportional_labels(known, demo.NUM)
    extractor = Extractor()
    rows = []
    for process, values in PROCESSES.items():
        for prediction in PREDICTIONS:
            row = {"process": process, "prediction": prediction}
            folder = output / f"{process}-{prediction}"
            row |= one(folder, data, row | {"loss": prediction} | values, labels)
            made = np.load(folder / "samples" / "samples.npz", allow_pickle=False)
            scores = fvd(reference, made["videos"], extractor=extractor).scores
            row |= {"fvd": scores.fvd, "standard_error": scores.standard_error}
            rows.append(row)
            print(json.dumps(row), flush=True)
    result = {"steps": STEPS, "num": demo.NUM, "cores": os.cpu_count(), "rows": rows}
    files.write_json(RESULT, result)
    print(f"wrote {RESULT}")


def one(
    folder: Path, data: Path, diffusion: dict[str, str], labels: np.ndarray
) -> dict[str, float]:
    """Trains and samples one; what its log says of the rate and the loss."""
    changed = [f"--config.diffusion.{key}={value}" for key, value in diffusion.items()]
    run(
        "train",
        f"--config={CONFIG}",
        f"--workdir={folder}",
        f"--config.data.path={data}",
        f"--config.train.num_steps={STEPS}",
        *changed,
    )
    start = time.monotonic()
    if not (folder / "samples" / "samples.npz").exists():
        run(
            "sample",
            f"--workdir={folder}",
            f"--labels={','.join(map(str, labels))}",
            f"--num={demo.NUM}",
            "--seed=0",
            f"--output={folder / 'samples'}",
        )
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    logged = [json.loads(line) for line in lines]
    rates = sorted(line["steps_per_s"] for line in logged if "steps_per_s" in line)
    return {
        "steps_per_s_median": rates[len(rates) // 2],
        "sample_s": time.monotonic() - start,
    }


def run(verb: str, *arguments: str) -> None:
    command = [sys.executable, "-m", f"dit_jax.{verb}", *arguments]
    environment = {"JAX_NUM_CPU_DEVICES": str(min(2, os.cpu_count() or 1))}
    subprocess.run(command, cwd=ROOT, check=True, env=environment | os.environ)


if __name__ == "__main__":
    main()
