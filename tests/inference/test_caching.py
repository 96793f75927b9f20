"""Step caching: what is spared, and that nothing else changes."""

import jax
import numpy as np
import pytest

from dit_jax.inference.caching import Never, Schedule, Threshold, schedule
from dit_jax.inference.generate import Draw, told
from dit_jax.parallel import mesh
from tests.inference.conftest import OPTIONS

ROWS = np.arange(3, dtype=np.int32)


@pytest.fixture(scope="module")
def drawn(make_run):
    run = make_run()
    alone = mesh.build(jax.devices()[:1], data=-1, fsdp=1, context=1, tensor=1)

    def draw(rule, guidance=2.0, seed=0):
        how = Draw(run, alone, sampler="euler", rule=rule, **(OPTIONS | {"steps": 12}))
        labels = told(run, np.array([0, 1, 2]))
        videos, memory = how.remembered(seed, ROWS, labels, guidance)
        return np.asarray(videos).astype(int), memory

    return draw


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_a_rule_that_spares_nothing_changes_nothing(drawn, guidance):
    expected, nothing = drawn(None, guidance)
    assert nothing is None
    for rule in (Never(), Schedule(np.zeros(12, bool)), Threshold(0.0, (1.0, 0.0), 12)):
        found, memory = drawn(rule, guidance)
        assert np.abs(found - expected).max() <= 1  # a rounding of one grey level
        assert memory.ran == 12


def test_a_schedule_spares_what_it_says(drawn):
    spared = np.arange(12) % 3 == 1
    found, memory = drawn(Schedule(spared))
    assert memory.ran == 8
    assert np.any(found != drawn(None)[0])


def test_a_higher_threshold_spares_more(drawn):
    ran = [
        int(drawn(Threshold(h, (1.0, 0.0), 12))[1].ran) for h in (0.0, 0.3, 1.0, 1e9)
    ]
    assert ran == sorted(ran, reverse=True)
    assert ran[0] == 12 and ran[-1] == 2  # the first and the last call always run


def test_the_curve_is_of_the_residuals_lengths(drawn):
    _, memory = drawn(Never())
    ratios, changes = np.asarray(memory.ratios), np.asarray(memory.changes)
    assert ratios.shape == (12,) and changes.shape == (12, 2)
    assert np.all((ratios[1:] > 0.5) & (ratios[1:] < 2))
    assert np.all(changes[1:] > 0)


def test_a_flat_curve_spares_all_but_one_in_a_few():
    spared = schedule(np.ones(20), threshold=0.1, longest=2, kept=0.2).spared
    assert not spared[:4].any()
    assert spared[4:].reshape(-1, 4)[:, :2].all() or spared[4:].mean() > 0.6


def test_a_curve_that_falls_fast_spares_nothing():
    assert not schedule(np.full(20, 0.5)).spared.any()


def test_longer_runs_and_higher_thresholds_spare_more():
    curve = 1 - np.linspace(0.001, 0.05, 40)
    counts = [
        schedule(curve, threshold=threshold, longest=longest).spared.sum()
        for threshold, longest in ((0.01, 2), (0.05, 2), (0.05, 4), (0.2, 4))
    ]
    assert counts == sorted(counts) and counts[0] < counts[-1]
