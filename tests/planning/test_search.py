"""The search finds the cheapest that fits, and remedies make a plan fit."""

import dataclasses
import itertools

import pytest

from dit_jax.errors import UserError
from dit_jax.parallel import topology
from dit_jax.planning import plan as plan_lib
from dit_jax.planning import report, search, workload
from dit_jax.planning.layout import Layout, fill
from dit_jax.planning.training import REMATS, Training

LARGE = {"depth": 24, "width": 2048, "num_heads": 16, "hidden": 8192}


@pytest.fixture(scope="module")
def large():
    """A model whose activations do not fit everywhere."""
    return workload.transformer("large", tokens=16_384, **LARGE)


def brute_force(model, training, machine):
    """Steps of everything that fits, by trying every number for every axis."""
    numbers = range(1, machine.num_devices + 1)
    for sizes in itertools.product(numbers, repeat=4):
        data, fsdp, context, tensor = sizes
        if data * fsdp * context * tensor != machine.num_devices:
            continue
        heads = model.num_heads // tensor
        ring = next(
            r for r in numbers if context % r == 0 and not heads % (context // r)
        )
        for remat in REMATS:
            tried = dataclasses.replace(training, remat=remat)
            try:
                layout = Layout(data, fsdp, context, tensor, ring)
                plan = plan_lib.make(model, tried, layout, machine)
            except UserError:
                continue
            if plan.fits:
                yield plan.step_s


@pytest.mark.parametrize("batch_size", [4, 32])
def test_brute_force_never_beats_the_search(large, batch_size):
    machine = topology.parse("v5e:4x4")
    training = Training(batch_size=batch_size, num_steps=10)
    found = search.search(large, training, machine)
    assert found
    assert all(plan.fits for plan in found)
    steps = [plan.step_s for plan in found]
    assert steps == sorted(steps)
    assert steps[0] <= min(brute_force(large, training, machine))


@pytest.mark.parametrize("num_devices", [1, 12, 64])
def test_layouts_are_all_products_of_four_axes(num_devices):
    found = list(search.layouts(num_devices))
    assert len(found) == len(set(found))
    assert all(layout.num_devices == num_devices for layout in found)
    numbers = range(1, num_devices + 1)
    thirds = itertools.product(numbers, repeat=3)
    wanted = sum(num_devices % (a * b * c) == 0 for a, b, c in thirds)
    assert len(found) == wanted


@pytest.fixture(scope="module")
def too_large(large):
    training = Training(batch_size=32, num_steps=10, remat="none")
    machine = topology.parse("v5e:4x4")
    return plan_lib.make(large, training, Layout(fsdp=16), machine)


def test_remedies_make_it_fit_and_come_by_their_cost(too_large):
    assert not too_large.fits
    found = search.remedies(too_large)
    assert len(found) == 3
    assert all(remedy.plan.fits for remedy in found)
    costs = [remedy.cost for remedy in found]
    assert costs == sorted(costs)
    for remedy in found:
        step = remedy.plan.step_s / too_large.step_s - 1
        assert remedy.cost == pytest.approx(step)


def test_remedies_of_a_refusing_compiler_save_what_it_lacks(large):
    """The formulas say that it fits; the compiler wants a quarter more."""
    machine = topology.parse("v5e:4x4")
    training = Training(batch_size=16, num_steps=10, remat="attention")
    plan = plan_lib.make(large, training, Layout(fsdp=16), machine)
    assert plan.fits
    limit = 0.8 * plan.memory.total
    found = search.remedies(plan, limit=limit)
    assert found
    assert all(remedy.plan.memory.total <= limit for remedy in found)


@pytest.mark.parametrize("machine", ["v5e:4x8", "2*v5e:4x4"])
def test_what_a_remedy_says_makes_its_plan(large, machine):
    """Rings and slices included: `mesh.data` of a config is that within a slice."""
    machine = topology.parse(machine)
    training = Training(batch_size=32, num_steps=10, remat="none")
    one = Layout().settings
    start = fill(one | {"data": 2 // machine.num_slices, "fsdp": -1}, machine)
    plan = plan_lib.make(large, training, start, machine)
    found = search.remedies(plan, num=6, limit=0.9 * plan.memory.total)
    assert len(found) > 2
    for remedy in found:
        said = dict(part.split("=") for part in remedy.change.split(", "))
        mesh = start.settings | {
            key.removeprefix("mesh."): int(value)
            for key, value in said.items()
            if key.startswith("mesh.")
        }
        assert fill(mesh, machine) == remedy.plan.layout


def test_the_verdict_says_how_much_too_much_and_what_helps(too_large):
    used, room = too_large.memory.total / 1e9, too_large.memory.capacity / 1e9
    said = report.verdict(too_large.memory.total, too_large.memory.capacity)
    assert said == (
        f"does not fit: {used:.2f} GB are needed on each device of {room:.2f} GB, "
        f"{used - room:.2f} GB too much"
    )
    sentence = report.remedy(too_large, search.remedies(too_large))
    assert sentence.startswith("cheapest remedies: ")
    assert sentence.count("% step)") == 3


def test_what_nothing_helps_needs_more_devices():
    giant = workload.transformer("giant", tokens=256, **LARGE | {"depth": 4000})
    training = Training(batch_size=4, num_steps=10)
    machine = topology.parse("v5e:2x2")
    plan = plan_lib.make(giant, training, Layout(fsdp=4), machine)
    assert search.remedies(plan) == []
    assert "take more devices than v5e:2x2 has" in report.remedy(plan, [])
    assert search.search(giant, training, machine) == []
    assert report.ranking([], 0) == ["no mesh and no remat policy fit"]
