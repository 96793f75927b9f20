"""What the compiler makes of the train step for pods that are not here.

    .venv/bin/python benchmarks/compiled.py [NAME ...] [--again]

Runs `python -m dit_jax.plan --compile` for every case of CASES (needs `make venv-tpu`;
minutes each) into benchmarks/results/compiled/, leaving alone what is there unless
--again, and then holds the figures against what is wanted in
benchmarks/results/compiled.json. Everything here was compiled and nothing was run.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "benchmarks" / "results" / "compiled"
SUMMARY = ROOT / "benchmarks" / "results" / "compiled.json"

XL, THREE, FOURTEEN = (
    f"configs/joint_{name}.py" for name in ("xl_256px", "3b_480p", "14b_720p")
)
NO_REMAT = ("model.remat=none", "train.batch_size=32")
# scores that are written are products that the compiler can count; fewer tokens, for
# they are kept
PLAIN = (*NO_REMAT, "model.attention=xla", "plan.latent_shape=4,32,32,16")
KEEP_INPUT = ("model.remat=full",)
CASES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "xl_v5e_16": (XL, "v5e:4x4", ()),
    "xl_v5e_16_full": (XL, "v5e:4x4", KEEP_INPUT),
    "xl_v5e_16_offload": (XL, "v5e:4x4", ("model.remat=offload",)),
    "xl_v5e_16_no_remat": (XL, "v5e:4x4", NO_REMAT),
    "xl_v5e_16_plain": (XL, "v5e:4x4", PLAIN),
    "3b_v5p_64": (THREE, "v5p:4x4x4", ("train.batch_size=64",)),
    "3b_v5p_256": (THREE, "v5p:8x8x4", ("mesh.data=16",)),
    "14b_v5p_256": (FOURTEEN, "v5p:8x8x4", ()),
    "xl_v5p_256": (XL, "v5p:8x8x4", ()),
    "xl_v6e_256": (XL, "v6e:16x16", ()),
    "xl_tpu7x_128": (XL, "tpu7x:4x4x8", ()),
    "3b_v6e_256": (THREE, "v6e:16x16", ()),
    "3b_tpu7x_128": (THREE, "tpu7x:4x4x8", ()),
    "14b_v6e_256": (FOURTEEN, "v6e:16x16", ("model.num_heads=20",)),
    "14b_tpu7x_128": (FOURTEEN, "tpu7x:4x4x8", ("model.num_heads=20",)),
}
# compiled / predicted, at most
WANTED = {"hardware_flops": 1.02, "memory_bytes": 1.15, "sent_bytes": 1.10}
WEAK = ("3b_v5p_64", "3b_v5p_256")  # equal tokens a chip
FLAT = 0.02


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*CASES, []])
    parser.add_argument("--again", action="store_true")
    given = parser.parse_args()
    for name in given.names or CASES:
        if given.again or not (FOLDER / f"{name}.json").exists():
            compile_case(name)
    write_summary()


def compile_case(name: str) -> None:
    config, topology, changes = CASES[name]
    command = [sys.executable, "-m", "dit_jax.plan", f"--config={config}"]
    command += [f"--topology={topology}", "--compile", f"--json={FOLDER}/{name}.json"]
    command += [f"--config.{change}" for change in changes]
    print(f"== {name}: {' '.join(command[1:])}", flush=True)
    code = subprocess.run(command, cwd=ROOT).returncode
    if code not in (0, 1):  # 1: it does not fit, which is a result
        raise SystemExit(f"{name} ended with {code}")


def write_summary() -> None:
    rows = {
        name: json.loads((FOLDER / f"{name}.json").read_text())
        for name in CASES
        if (FOLDER / f"{name}.json").exists()
    }
    summary = {
        "command": "benchmarks/compiled.py",
        "wanted": WANTED | {"weak_scaling": FLAT, "unplanned": 0},
        "cases": {name: row(name, found) for name, found in rows.items()},
        "weak_scaling": weak_scaling(rows),
    }
    SUMMARY.write_text(json.dumps(summary, indent=2, sort_keys=True) + "\n")
    for name, case in summary["cases"].items():
        print(f"{name:<20} {json.dumps(case['over_predicted'])}  met: {case['met']}")
    print(f"wrote {SUMMARY}")


def row(name: str, found: dict) -> dict:
    config, topology, changes = CASES[name]
    about = {"config": config, "topology": topology, "changes": list(changes)}
    if "compiled" not in found:
        return about | {"met": False, "over_predicted": None, "fits": False}
    compiled = found["compiled"]
    ratios = compiled["over_predicted"]
    return about | {
        "over_predicted": {key: round(value, 4) for key, value in ratios.items()},
        "peak_gb": round(compiled["peak_bytes"] / 1e9, 2),
        "host_gb": round(compiled["host_bytes"] / 1e9, 2),
        "sent_gb": round(compiled["sent_bytes"] / 1e9, 3),
        "bound": found["roofline"]["bound"],
        "unplanned": compiled["unplanned"],
        "compile_s": compiled["compile_s"],
        "met": all(ratios[key] <= most for key, most in WANTED.items())
        and ratios["hardware_flops"] >= 2 - WANTED["hardware_flops"]
        and not compiled["unplanned"],
    }


def weak_scaling(rows: dict[str, dict]) -> dict | None:
    """How much more a chip sends and holds where there are four times as many."""
    if not set(WEAK) <= rows.keys():
        return None
    few, many = (rows[name]["compiled"] for name in WEAK)
    growth = {
        key: round(many[f"{key}_bytes"] / few[f"{key}_bytes"] - 1, 4)
        for key in ("sent", "peak")
    }
    return growth | {"met": all(abs(value) <= FLAT for value in growth.values())}


if __name__ == "__main__":
    main()
