"""Learning rates by step."""

import numpy as np
import pytest

from dit_jax.errors import UserError
from dit_jax.training.schedules import SCHEDULES, learning_rate

PEAK = 2e-4


def rates(name, steps, **changes):
    settings = {"num_steps": 50, "warmup_steps": 4, "final_share": 0.1}
    settings |= {"peak": PEAK, "decay_share": 0.2} | changes
    rate = learning_rate(name, **settings)
    return [float(rate(step)) for step in steps]


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_warms_up_in_a_line_from_zero_to_the_peak(name):
    found = rates(name, (0, 1, 2, 3, 4))
    np.testing.assert_allclose(found, np.array([0, 1, 2, 3, 4]) / 4 * PEAK, rtol=1e-6)


@pytest.mark.parametrize("name", SCHEDULES)
def test_without_warm_up_the_first_step_has_the_peak(name):
    np.testing.assert_allclose(rates(name, [0], warmup_steps=0), PEAK, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("constant", {5: 1, 27: 1, 49: 1, 50: 1}),
        ("cosine", {27: 0.55, 50: 0.1, 60: 0.1}),  # half of the way from 4 to 50
        ("wsd", {5: 1, 39: 1, 40: 1, 41: 0.91, 45: 0.55, 49: 0.19, 50: 0.1}),
    ],
)
def test_a_schedule_has_the_shape_of_its_name(name, wanted):
    found = rates(name, wanted)
    np.testing.assert_allclose(found, np.array([*wanted.values()]) * PEAK, rtol=1e-5)


def test_a_cosine_that_ends_at_its_peak_is_constant():
    steps = range(0, 50, 7)
    cosine = rates("cosine", steps, final_share=1.0)
    np.testing.assert_allclose(cosine, rates("constant", steps), rtol=1e-6)


def test_a_longer_wsd_run_is_the_shorter_one_until_its_decay():
    steps = range(0, 40, 3)
    longer = rates("wsd", steps, num_steps=100, decay_share=0.1)
    assert longer == rates("wsd", steps)


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("linear", {}, "optimizer.schedule is 'linear'.* constant, cosine, wsd"),
        ("cosine", {"warmup_steps": 50}, "warm up for fewer steps than the run has"),
        ("wsd", {"decay_share": 0.0}, r"decay_share is 0.0; .* \(0, 1\]"),
        ("wsd", {"decay_share": float("nan")}, "decay_share is nan"),
        ("wsd", {"decay_share": 0.95}, "48 steps of decay, but only 46 come after"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(name, changes, words):
    with pytest.raises(UserError, match=words):
        rates(name, [0], **changes)
