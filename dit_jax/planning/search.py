"""Every mesh and every policy that divide, and the cheapest that fit.

The cheapest is what has the shortest predicted step; of equals, what leaves the host
alone, then what needs the least memory. Context is divided by exchanging heads, as far
as they go, and by a ring only beyond: rings look cheaper in these formulas than they
were where both were measured.
"""

import contextlib
import dataclasses
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from dit_jax.errors import UserError
from dit_jax.parallel.mesh import AXES
from dit_jax.parallel.topology import Topology
from dit_jax.planning import plan as plan_lib
from dit_jax.planning.layout import Layout, over_slices
from dit_jax.planning.plan import Plan
from dit_jax.planning.training import OPTIMIZER_BYTES, REMATS, Training
from dit_jax.planning.workload import Workload


def search(workload: Workload, training: Training, topology: Topology) -> list[Plan]:
    """Every plan that fits, the cheapest first."""
    found = [
        plan
        for layout in layouts(topology.num_devices, topology.num_slices)
        for remat in REMATS
        for plan in _tried(
            workload, dataclasses.replace(training, remat=remat), layout, topology
        )
        if plan.fits
    ]
    return sorted(found, key=_cost)


def _cost(plan: Plan) -> tuple[float, bool, float]:
    return plan.step_s, plan.training.policy.host, plan.memory.total


def layouts(num_devices: int, num_slices: int = 1) -> Iterator[Layout]:
    """Every way to write `num_devices` as a product of the four axes, of which data and
    fsdp run over the slices."""
    for sizes in itertools.product(divisors(num_devices), repeat=len(AXES) - 1):
        rest, excess = num_devices, False
        for size in sizes:
            excess = excess or rest % size != 0
            rest //= size
        if not excess and rest:
            layout = Layout(**dict(zip(AXES, (*sizes, rest), strict=True)))
            with contextlib.suppress(UserError):
                yield over_slices(layout, num_slices)


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
    """A change that makes a plan fit, as a config has it. cost: of the step, as a share
    of its time."""

    change: str
    plan: Plan
    cost: float

    def __str__(self) -> str:
        return f"{self.change} ({self.cost:+.1%} step)"


def remedies(plan: Plan, num: int = 3, limit: float | None = None) -> list[Remedy]:
    """The cheapest changes after which it fits: single ones of different kinds first,
    then pairs of which neither is enough alone, then others of the same kinds. limit:
    bytes by the plan's own count, the memory of a device when not given."""
    limit = plan.memory.capacity if limit is None else limit
    kinds: dict[str, list[Change]] = {}
    for change in _changes(plan):
        kinds.setdefault(change.kind, []).append(change)
    single = {
        kind: _fitting(plan, limit, ((change,) for change in changes))
        for kind, changes in kinds.items()
    }
    found = sorted((r for fit in single.values() for r in fit[:1]), key=_price)[:num]
    if len(found) < num:
        left = [kinds[kind] for kind, fit in single.items() if not fit]
        pairs = [
            _fitting(plan, limit, itertools.product(one, other))
            for one, other in itertools.combinations(left, 2)
        ]
        others = [r for fit in (*single.values(), *pairs) for r in fit[1:]]
        found += sorted((r for fit in pairs for r in fit[:1]), key=_price)
        found += sorted(others, key=_price)
    return sorted(found[:num], key=_price)


@dataclasses.dataclass(frozen=True)
class Change:
    kind: str
    training: dict[str, Any] = dataclasses.field(default_factory=dict)
    layout: dict[str, int] = dataclasses.field(default_factory=dict)


def _changes(plan: Plan) -> Iterator[Change]:
    training, layout = plan.training, plan.layout
    for remat in REMATS:
        if remat != training.remat:
            yield Change("remat", {"remat": remat})
    for times in (2, 4, 8):
        parts = training.microbatches * times
        yield Change("microbatches", {"microbatches": parts})
    for axis in ("context", "tensor"):
        for times in (2, 4, 8):
            size = getattr(layout, axis) * times
            for source in ("data", "fsdp"):
                if getattr(layout, source) % times == 0:
                    rest = getattr(layout, source) // times
                    yield Change(axis, layout={axis: size, source: rest})
    if layout.data > 1:
        yield Change("data", layout={"data": 1, "fsdp": layout.data * layout.fsdp})
    for name, size in OPTIMIZER_BYTES.items():
        if size < training.state_bytes:
            yield Change("optimizer", {"optimizer": name})


def _fitting(
    plan: Plan, limit: float, choices: Iterable[tuple[Change, ...]]
) -> list[Remedy]:
    """The cheapest first."""
    fitting = [
        remedy
        for changes in choices
        for remedy in _applied(plan, changes)
        if remedy.plan.memory.total <= limit
    ]
    return sorted(fitting, key=_price)


def _price(remedy: Remedy) -> float:
    return remedy.cost


def _applied(plan: Plan, changes: tuple[Change, ...]) -> Iterator[Remedy]:
    training, layout = plan.training, plan.layout
    touched: set[str] = set()
    for change in changes:
        keys = {*change.training, *change.layout}
        if keys & touched:
            return
        touched |= keys
        training = dataclasses.replace(training, **change.training)
        layout = dataclasses.replace(layout, **change.layout)
    with contextlib.suppress(UserError):
        layout = over_slices(layout, plan.topology.num_slices)
        for found in _tried(plan.workload, training, layout, plan.topology):
            yield Remedy(_written(plan, found), found, found.step_s / plan.step_s - 1)


KEYS = {
    "remat": "model.remat",
    "microbatches": "train.microbatches",
    "optimizer": "optimizer.name",
}


def _written(plan: Plan, found: Plan) -> str:
    """What a config must say otherwise."""
    before, after = (
        {key: getattr(p.training, name) for name, key in KEYS.items()}
        | {f"mesh.{axis}": size for axis, size in p.layout.settings.items()}
        for p in (plan, found)
    )
    return ", ".join(f"{k}={v}" for k, v in after.items() if v != before[k])
