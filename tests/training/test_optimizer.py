"""Learning rates and clipping by step."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dit_jax.errors import UserError
from dit_jax.training.optimizer import clipping, learning_rate

GRADIENT = {"a": jnp.array([3.0, 0.0]), "b": jnp.array([[4.0]])}  # of norm 5


def norms(transform, num_steps):
    state, found = transform.init(GRADIENT), []
    for _ in range(num_steps):
        updates, state = transform.update(GRADIENT, state)
        found.append(float(optax.tree.norm(updates)))
    return found


def test_a_final_share_of_one_is_a_constant_rate_after_warm_up():
    rate = learning_rate(peak=2e-4, warmup_steps=4, num_steps=50, final_share=1.0)
    found = [float(rate(step)) for step in (0, 1, 2, 4, 5, 30, 50)]
    wanted = [0, 0.5e-4, 1e-4, 2e-4, 2e-4, 2e-4, 2e-4]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_without_warm_up_the_first_step_has_the_peak():
    rate = learning_rate(peak=1e-4, warmup_steps=0, num_steps=9, final_share=1.0)
    np.testing.assert_allclose([float(rate(0)), float(rate(8))], 1e-4, rtol=1e-6)


def test_clipping_begins_after_the_named_steps():
    np.testing.assert_allclose(norms(clipping(0.1, 2), 4), [5, 5, 0.1, 0.1], rtol=1e-6)
    np.testing.assert_allclose(norms(clipping(0.1, 0), 2), [0.1, 0.1], rtol=1e-6)


def test_a_norm_of_zero_clips_nothing():
    assert norms(clipping(0.0, 0), 2) == [5.0, 5.0]


@pytest.mark.parametrize(
    ("norm", "first", "words"),
    [
        (-1.0, 0, "optimizer.clip_norm is -1.0; give at least 0"),
        (float("nan"), 0, "optimizer.clip_norm is nan"),
        (1.0, -2, "optimizer.clip_from is -2; give at least 0"),
    ],
)
def test_what_cannot_clip_is_refused(norm, first, words):
    with pytest.raises(UserError, match=words):
        clipping(norm, first)
