"""What step caching saves and costs on the demo's model.

    .venv/bin/python benchmarks/demo_caching.py [--workdir runs/demo-proof/train]

Of a demo that was trained (`benchmarks/demo.py`): samples NUM clips with its own
settings, all calls run, and again under each of RULES; the forwards saved and the PSNR
between the two, as `sample --cache` says them. Writes
benchmarks/results/demo_caching.json.
"""

import argparse
import dataclasses
import tempfile
from pathlib import Path

import numpy as np

from dit_jax import files
from dit_jax.inference import curves, generate, run_folder
from dit_jax.inference.method import arguments_of
from dit_jax.parallel import mesh

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "demo_caching.json"
NUM = 64
RULES = (
    "mag",
    "mag:threshold=0.12,longest=3",
    "mag:threshold=0.3,longest=4",
    "mag:threshold=1.0,longest=6",
    "tea",
    "tea:threshold=0.25",
    "tea:threshold=0.5",
    "tea:threshold=1.0",
)
SAMPLERS = ("ancestral", "euler", "dpmpp_2m")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workdir", default="runs/demo-proof/train")
    workdir = ROOT / parser.parse_args().workdir
    devices = mesh.build(data=-1, fsdp=1, context=1, tensor=1)
    run = run_folder.load(str(workdir), devices)
    told = generate.told(run, np.arange(NUM) % len(run.classes))
    options = arguments_of(run.config.sample)
    rows = []
    for sampler in SAMPLERS:
        for rule in RULES:
            with tempfile.TemporaryDirectory() as folder:
                _, saving = curves.rule_of(
                    rule,
                    run,
                    devices,
                    folder,
                    told,
                    seed=0,
                    guidance=run.config.sample.guidance,
                    num_clips=NUM,
                    **options | {"sampler": sampler},
                )
            rows.append(
                {"sampler": sampler, "rule": rule, "share": saving.share}
                | dataclasses.asdict(saving)
            )
            print(f"{sampler:10} {rule:32} {saving}", flush=True)
    own = run.config.sample
    settings = {key: own[key] for key in ("grid", "steps", "shift", "guidance")}
    files.write_json(RESULT, {"num": NUM, "sample": settings, "rows": rows})
    print(f"wrote {RESULT}")


if __name__ == "__main__":
    main()
