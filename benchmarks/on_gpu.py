"""Train steps on one GPU: seconds and memory, measured and as planned beforehand.

    python benchmarks/on_gpu.py [NAME ...] [--steps 20] [--chip h100]

Needs an NVIDIA GPU and jax with CUDA (`pip install .[cuda]`), which `make` does not
install. Every case of CASES runs in a process of its own, on made-up latents: a
warm-up, then --steps steps, each waited for. The plan is that of `python -m
dit_jax.plan` for one such GPU, whose efficiencies were committed before anything ran on
one.
Writes benchmarks/results/on_gpu.json, where other cases stay as they were.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import jax  # noqa: E402

from benchmarks.parts import training  # noqa: E402
from benchmarks.parts.report import RESULTS, Report, seconds, summary  # noqa: E402
from dit_jax import config as config_lib  # noqa: E402
from dit_jax.parallel import topology  # noqa: E402
from dit_jax.planning import inputs, plan  # noqa: E402

RESULT = RESULTS / "on_gpu.json"
XL, BASE = "configs/joint_xl_256px.py", "configs/joint.py:b/1x2x2"
CLIP = {"plan.latent_shape": "16,32,32,16", "plan.num_classes": "1000"}
LONG = {"plan.latent_shape": "16,64,64,16", "plan.num_classes": "1000"}
CASES: dict[str, tuple[str, dict[str, str]]] = {
    "xl_full": (XL, CLIP | {"train.batch_size": "16", "model.remat": "full"}),
    "xl_attention": (
        XL,
        CLIP | {"train.batch_size": "16", "model.remat": "attention"},
    ),
    "xl_none": (XL, CLIP | {"train.batch_size": "8", "model.remat": "none"}),
    "xl_chunked": (
        XL,
        CLIP
        | {
            "train.batch_size": "16",
            "model.attention": "chunked",
            "model.remat": "attention",
        },
    ),
    "xl_xla": (
        XL,
        CLIP
        | {"train.batch_size": "8", "model.attention": "xla", "model.remat": "full"},
    ),
    "xl_long": (XL, LONG | {"train.batch_size": "4", "model.remat": "full"}),
    "b_none": (BASE, CLIP | {"train.batch_size": "16", "model.remat": "none"}),
    "b_full": (BASE, CLIP | {"train.batch_size": "32", "model.remat": "full"}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*CASES, []])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--chip", default="h100")
    parser.add_argument("--here", action="store_true", help="one case, in this process")
    options = parser.parse_args()
    if options.here:
        print(json.dumps(measure(options.names[0], options.steps, options.chip)))
        return
    report = Report("on_gpu")
    cases = json.loads(RESULT.read_text())["cases"] if RESULT.exists() else {}
    for name in options.names or CASES:
        command = [sys.executable, __file__, name, "--here", f"--steps={options.steps}"]
        done = subprocess.run(
            [*command, f"--chip={options.chip}"], stdout=subprocess.PIPE, text=True
        )
        if done.returncode == 0:
            cases[name] = json.loads(done.stdout.splitlines()[-1])
            print(name, json.dumps(cases[name]), flush=True)
        else:
            print(f"{name} ended with {done.returncode}", flush=True)
    report.write({"cases": cases, "gpu": options.chip, "steps": options.steps})


def measure(name: str, steps: int, chip: str) -> dict[str, Any]:
    gpu = jax.devices()[0]
    if gpu.platform != "gpu":
        sys.exit(f"needs an NVIDIA GPU, and jax sees {gpu.device_kind}")
    file, changes = CASES[name]
    config = config_lib.load(f"{ROOT}/{file}", changes)
    with config.unlocked():
        config.mesh.update(data=1, fsdp=1)
        config.model.dtype = "bfloat16"
    planned = planned_for(config, f"{chip}:1x1")
    run = training.on_one_device(config, inputs.facts(config)[0])
    started = time.perf_counter()
    made = training.start(run)
    made.step()  # compiles
    compile_s = time.perf_counter() - started
    for _ in range(3):
        made.step()
    took = summary([seconds(made.step) for _ in range(steps)])
    step_s = took["median_ms"] / 1e3
    peak = gpu.memory_stats()["peak_bytes_in_use"]
    wanted = planned.predictions()
    return {
        "config": file,
        "changes": changes,
        "device": gpu.device_kind,
        "step": took,
        "first_step_s": round(compile_s, 1),
        "clips_per_s": round(config.train.batch_size / step_s, 2),
        "mfu": round(
            wanted["model_flops"] / step_s / planned.topology.chip.bf16_flops, 4
        ),
        "peak_gb": round(peak / 1e9, 2),
        "planned": {
            "step_ms": round(1e3 * wanted["step_s"], 3),
            "mfu": round(wanted["mfu"], 4),
            "peak_gb": round(wanted["memory_bytes"] / 1e9, 2),
        },
        "planned_over_measured": {
            "step": round(wanted["step_s"] / step_s, 3),
            "peak": round(wanted["memory_bytes"] / peak, 3),
        },
    }


def planned_for(config: Any, where: str) -> plan.Plan:
    place = topology.parse(where)
    return plan.make(*inputs.read(inputs.resolve(config), place), place)


if __name__ == "__main__":
    main()
