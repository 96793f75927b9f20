"""Draws depend on seed, stream, step and row, and on nothing else."""

import jax.numpy as jnp
import numpy as np

from dit_jax import rng


def test_a_row_draws_the_same_in_any_batch():
    key = rng.stream(0, "noise", 5)
    whole = rng.normal_rows(key, jnp.arange(8), (3, 2))
    part = rng.normal_rows(key, jnp.array([6, 2]), (3, 2))
    np.testing.assert_array_equal(part, whole[jnp.array([6, 2])])


def test_seed_stream_step_and_row_all_matter():
    def draw(seed=0, name="noise", step=1, row=2):
        return float(
            rng.uniform_rows(rng.stream(seed, name, step), jnp.array([row]))[0]
        )

    draws = [draw(), draw(seed=1), draw(name="times"), draw(step=2), draw(row=3)]
    assert len(set(draws)) == 5


def test_rows_are_standard_normal():
    noise = rng.normal_rows(rng.stream(0, "x", 0), jnp.arange(64), (512,))
    assert abs(float(noise.mean())) < 0.02
    assert abs(float(noise.std()) - 1) < 0.02
    correlation = np.corrcoef(np.asarray(noise)[:16])
    assert np.abs(correlation - np.eye(16)).max() < 0.2
