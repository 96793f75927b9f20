"""Prints the table of plans in docs/scale.md, a line for every config and machine.

python docs/figures/plans.py
"""

from pathlib import Path

from dit_jax import config as config_lib
from dit_jax.parallel import topology as topologies
from dit_jax.planning import inputs
from dit_jax.planning import plan as plan_lib
from dit_jax.planning.plan import Plan

ROOT = Path(__file__).parents[2]
NAMES = ("joint_xl_256px", "joint_3b_480p", "joint_14b_720p")
MACHINES = ("v5p:8x8x4", "v6e:16x16", "tpu7x:4x4x8", "h100:8x8")
# what a machine is given otherwise than the config has it
WIDE_HEADS = {"model.num_heads": "20"}  # 256 channels fill the matrix units
CHANGES: dict[tuple[str, str], dict[str, str]] = {
    ("joint_3b_480p", "h100:8x8"): {"train.microbatches": "4"},
    ("joint_14b_720p", "v6e:16x16"): WIDE_HEADS,
    ("joint_14b_720p", "tpu7x:4x4x8"): WIDE_HEADS,
    ("joint_14b_720p", "h100:8x8"): {"train.microbatches": "4"},
}
HEAD = (
    "| config | machine | changed | mesh | memory of a device | step at best "
    "| bound by | MFU at best | recomputation leaves |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


def made(name: str, machine: str) -> Plan:
    changes = CHANGES.get((name, machine), {})
    config = config_lib.load(str(ROOT / "configs" / f"{name}.py"), changes)
    topology = topologies.parse(machine)
    return plan_lib.make(*inputs.read(inputs.resolve(config), topology), topology)


def row(name: str, machine: str) -> str:
    plan = made(name, machine)
    changes = CHANGES.get((name, machine), {})
    found, memory = plan.roofline, plan.memory
    changed = " ".join(f"`{key}={value}`" for key, value in changes.items())
    cells = [
        f"`{name}`",
        f"`{machine}`",
        changed or "-",
        plan.layout.describe(),
        f"{memory.total / 1e9:.1f} of {memory.capacity / 1e9:.1f} GB",
        f"{plan.step_s:.2f} s",
        found.bound,
        f"{found.mfu:.0%}",
        f"{found.max_mfu:.0%}",
    ]
    return f"| {' | '.join(cells)} |"


def rows() -> list[str]:
    return [row(name, machine) for name in NAMES for machine in MACHINES]


if __name__ == "__main__":
    print("\n".join([HEAD, *rows()]))
