"""Every mesh and every policy that divide, and the cheapest that fit.

The cheapest is what has the shortest predicted step; of equals, what leaves the host
alone, then what needs the least memory. Context is divided by exchanging heads, as far
as they go, and by a ring only beyond: rings look cheaper in these formulas than they
were where both were measured.
"""

import dataclasses
import itertools
from collections.abc import Iterator

from dit_jax.errors import UserError
from dit_jax.parallel.mesh import AXES
from dit_jax.parallel.topology import Topology
from dit_jax.planning import plan as plan_lib
from dit_jax.planning.layout import Layout
from dit_jax.planning.plan import Plan
from dit_jax.planning.training import OPTIMIZER_BYTES, REMATS, Training
from dit_jax.planning.workload import Workload


def search(workload: Workload, training: Training, topology: Topology) -> list[Plan]:
    """Every plan that fits, the cheapest first."""
    found = [
        plan
        for layout in layouts(topology.num_devices)
        for remat in REMATS
        for plan in _tried(
            workload, dataclasses.replace(training, remat=remat), layout, topology
        )
        if plan.fits
    ]
    return sorted(found, key=_cost)


def _cost(plan: Plan) -> tuple[float, bool, float]:
    return plan.step_s, plan.training.policy.host, plan.memory.total


def layouts(num_devices: int) -> Iterator[Layout]:
    """Every way to write `num_devices` as a product of the four axes."""
    for sizes in itertools.product(divisors(num_devices), repeat=len(AXES) - 1):
        rest, excess = num_devices, False
        for size in sizes:
            excess = excess or rest % size != 0
            rest //= size
        if not excess and rest:
            yield Layout(**dict(zip(AXES, (*sizes, rest), strict=True)))


def divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]


def _tried(
    workload: Workload, training: Training, layout: Layout, topology: Topology
) -> Iterator[Plan]:
    """The plan with the smallest ring that the heads allow; nothing where none does."""
    for ring in divisors(layout.context):
        try:
            with_ring = dataclasses.replace(layout, ring=ring)
            yield plan_lib.make(workload, training, with_ring, topology)
            return
        except UserError:
            continue


@dataclasses.dataclass(frozen=True)
class Remedy:
    """A change that makes a plan fit. cost: of the step, as a share of its time."""

    change: str
    plan: Plan
    cost: float

    def __str__(self) -> str:
        return f"{self.change} ({self.cost:+.1%} step)"


def remedies(plan: Plan, num: int = 3) -> list[Remedy]:
    """The cheapest changes after which it fits: single ones first, then pairs of which
    neither is enough alone."""
    helpful, left = [], []
    for change in _changes(plan):
        fitting = [r for r in _applied(plan, (change,)) if r.plan.fits]
        helpful += fitting
        left += [] if fitting else [change]
    found = sorted(helpful, key=_price)[:num]
    if len(found) < num:
        pairs = [
            remedy
            for pair in itertools.combinations(left, 2)
            for remedy in _applied(plan, pair)
            if remedy.plan.fits
        ]
        found += sorted(pairs, key=_price)[: num - len(found)]
    return found


def _price(remedy: Remedy) -> float:
    return remedy.cost


Change = tuple[str, dict, dict]  # (how it is written, of the training, of the layout)


def _changes(plan: Plan) -> Iterator[Change]:
    training, layout = plan.training, plan.layout
    for remat in REMATS:
        if remat != training.remat:
            yield f"model.remat={remat}", {"remat": remat}, {}
    for times in (2, 4, 8):
        parts = training.microbatches * times
        yield f"train.microbatches={parts}", {"microbatches": parts}, {}
    for axis in ("context", "tensor"):
        for times in (2, 4, 8):
            size = getattr(layout, axis) * times
            for source in ("data", "fsdp"):
                if getattr(layout, source) % times == 0:
                    sizes = {axis: size, source: getattr(layout, source) // times}
                    text = ", ".join(f"mesh.{k}={v}" for k, v in sizes.items())
                    yield text, {}, sizes
    if layout.data > 1:
        whole = layout.data * layout.fsdp
        yield f"mesh.data=1, mesh.fsdp={whole}", {}, {"data": 1, "fsdp": whole}
    for name, size in OPTIMIZER_BYTES.items():
        if size < training.state_bytes:
            yield f"optimizer.name={name}", {"optimizer": name}, {}


def _applied(plan: Plan, changes: tuple[Change, ...]) -> Iterator[Remedy]:
    training, layout = plan.training, plan.layout
    touched: set[str] = set()
    for _, of_training, of_layout in changes:
        keys = {*of_training, *of_layout}
        if keys & touched:
            return
        touched |= keys
        training = dataclasses.replace(training, **of_training)
        layout = dataclasses.replace(layout, **of_layout)
    text = " and ".join(text for text, _, _ in changes)
    for found in _tried(plan.workload, training, layout, plan.topology):
        yield Remedy(text, found, found.step_s / plan.step_s - 1)
