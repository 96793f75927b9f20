from statistics import NormalDist

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax import rng
from dit_jax.diffusion.times import (
    DISTRIBUTIONS,
    LogitNormal,
    Mode,
    TrainingTimes,
    Uniform,
    shift_time,
)

KEY = rng.stream(0, "times", 7)


def draw(times: TrainingTimes, batch_size: int, key: jax.Array = KEY) -> jax.Array:
    return times.draw(key, jnp.arange(batch_size), batch_size)


def many(
    times: TrainingTimes, num_steps: int = 500, batch_size: int = 32
) -> np.ndarray:
    keys = jax.vmap(lambda step: rng.stream(0, "times", step))(jnp.arange(num_steps))
    return np.asarray(jax.vmap(lambda key: draw(times, batch_size, key))(keys))


def test_stratified_times_put_one_row_in_each_stratum():
    """Up to the shared offset, which the best of all offsets must find."""
    t = np.sort(np.float64(draw(TrainingTimes(t_min=1e-6, t_max=1 - 1e-6), 64)))
    gaps = np.diff(np.concatenate([t, [t[0] + 1]]))
    assert gaps.max() < 2 / 64  # 64 independent draws leave a gap of about 5 / 64
    offsets = np.linspace(0, 1 / 64, 4001)
    strata = np.floor(((t[None] - offsets[:, None]) % 1) * 64)
    assert max(len(np.unique(row)) for row in strata) == 64


def test_rows_move_on_their_own_within_their_strata():
    """Triangular gaps, of variance 1 / 6 in units of the stratum, not an even grid."""
    gaps = np.diff(many(TrainingTimes(), num_steps=50), axis=1) * 32
    inside = np.abs(gaps) < 2  # leaves out the row that passes 1
    np.testing.assert_allclose(gaps[inside].var(), 1 / 6, rtol=0.15)


def test_independent_times_leave_gaps():
    t = np.sort(np.float64(draw(TrainingTimes(stratified=False), 64)))
    assert np.diff(t).max() > 2 / 64


@pytest.mark.parametrize("stratified", [True, False])
@pytest.mark.parametrize(
    "distribution, tolerance", [(Uniform(), 0), (LogitNormal(), 1e-7)]
)
def test_times_do_not_depend_on_how_rows_are_split(distribution, tolerance, stratified):
    """Up to the last bit of exp, which vector and scalar code round differently."""
    times = TrainingTimes(distribution, stratified=stratified)
    parts = [times.draw(KEY, rows, 16) for rows in jnp.split(jnp.arange(16), 2)]
    np.testing.assert_allclose(
        jnp.concatenate(parts), draw(times, 16), rtol=0, atol=tolerance
    )


@pytest.mark.parametrize("stratified", [True, False])
def test_every_row_alone_follows_the_uniform_law(stratified: bool):
    t = many(TrainingTimes(stratified=stratified))
    for row in (0, 31):
        share, _ = np.histogram(t[:, row], bins=10, range=(0, 1))
        # chi-square with 9 degrees of freedom: 27.9 is its 99.9 % point.
        assert ((share - 50.0) ** 2 / 50).sum() < 27.9


def test_times_change_with_the_step():
    assert not np.any(many(TrainingTimes())[0] == many(TrainingTimes())[1])


def test_stratification_lowers_the_variance_of_the_batch_mean():
    stratified = many(TrainingTimes()).mean(axis=1).std()
    independent = many(TrainingTimes(stratified=False)).mean(axis=1).std()
    assert stratified < independent / 3


@pytest.mark.parametrize("mean, std", [(0.0, 1.0), (0.4, 1.0), (-1.0, 0.5)])
def test_logits_of_logit_normal_times_have_its_moments(mean: float, std: float):
    bounds = {"t_min": 1e-6, "t_max": 1 - 1e-6}
    t = np.float64(many(TrainingTimes(LogitNormal(mean, std), **bounds))).ravel()
    logits = np.log(t / (1 - t))
    np.testing.assert_allclose(logits.mean(), mean, atol=4 * std / np.sqrt(t.size))
    np.testing.assert_allclose(logits.std(), std, rtol=0.03)


def test_a_positive_mean_leans_towards_noise():
    assert many(TrainingTimes(LogitNormal(0.4, 1.0))).mean() > 0.55


def test_logit_normal_quantiles_are_those_of_the_normal():
    u = np.linspace(0.01, 0.99, 33)
    z = np.array([NormalDist(0.4, 1.3).inv_cdf(p) for p in u])
    found = LogitNormal(0.4, 1.3).inverse_cdf(jnp.asarray(u, jnp.float32))
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-z)), atol=1e-5)


@pytest.mark.parametrize("make", DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)
def test_inverse_distribution_functions_rise(make):
    u = jnp.linspace(0, 1, 65)[:-1]
    assert jnp.all(jnp.diff(make(0.4, 1.3, 0.8).inverse_cdf(u)) > 0)


@pytest.mark.parametrize("distribution", [Uniform(), LogitNormal(0.0, 8.0)])
def test_times_stay_within_their_bounds(distribution):
    t = many(TrainingTimes(distribution, t_min=0.02, t_max=0.9))
    assert t.min() == np.float32(0.02)
    assert t.max() == np.float32(0.9)


def test_shift_keeps_the_ends_and_multiplies_the_odds_of_noise():
    t = jnp.array([0.0, 0.1, 0.5, 0.9, 1.0])
    shifted = np.float64(shift_time(t, 3.0))
    assert shifted[0] == 0
    assert shifted[-1] == 1
    odds = np.float64(t) / (1 - np.float64(t) + 1e-30)
    np.testing.assert_allclose(
        shifted[1:-1] / (1 - shifted[1:-1]), 3 * odds[1:-1], rtol=1e-5
    )


def test_shifts_compose_by_product():
    t = jnp.linspace(0.05, 0.95, 7)
    twice = shift_time(shift_time(t, 2.0), 3.0)
    np.testing.assert_allclose(twice, shift_time(t, 6.0), rtol=1e-6)


def test_training_times_are_shifted():
    plain, shifted = draw(TrainingTimes(), 32), draw(TrainingTimes(shift=3.0), 32)
    np.testing.assert_allclose(
        shifted, jnp.clip(shift_time(plain, 3.0), 1e-3, 1 - 1e-3), rtol=1e-5
    )


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"shift": 0.0}, "above 0"),
        ({"shift": np.nan}, "above 0"),
        ({"t_min": 0.0}, "0 < t_min < t_max < 1"),
        ({"t_max": 1.0}, "0 < t_min < t_max < 1"),
    ],
)
def test_times_that_touch_the_ends_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        TrainingTimes(**arguments)


@pytest.mark.parametrize(
    "mean, std", [(0.0, 0.0), (0.0, np.nan), (np.inf, 1.0), (0.0, np.inf)]
)
def test_a_logit_normal_that_is_none_is_refused(mean: float, std: float):
    with pytest.raises(ValueError, match="finite numbers and a std above 0"):
        LogitNormal(mean, std)


@pytest.mark.parametrize("scale", [-1.0, 0.0, 1.29, 1.75])
def test_mode_favours_the_middle_by_its_scale(scale):
    """The density at u is 1 / (dt / du); Esser et al., eq. 20."""
    u = jnp.linspace(0, 1, 2001)
    t = np.float64(Mode(scale).inverse_cdf(u))
    assert (t[0], t[-1]) == pytest.approx((0, 1), abs=1e-6)
    np.testing.assert_allclose(t + t[::-1], 1, atol=1e-6)  # both ends alike
    middle = (np.abs(t - 0.5) < 0.25).mean()
    assert np.sign(middle - 0.5 + 1e-3 * (scale == 0)) == np.sign(scale) or scale == 0


def test_a_mode_whose_times_run_back_is_refused():
    with pytest.raises(ValueError, match="run back"):
        Mode(1.9)


def test_times_of_a_discrete_process_are_its_steps_each_alike():
    times = TrainingTimes(num_steps=10)
    steps = np.float64(many(times)).ravel() * 9
    np.testing.assert_allclose(steps, steps.round(), atol=1e-5)
    found = np.bincount(steps.round().astype(int), minlength=10) / len(steps)
    np.testing.assert_allclose(found, 0.1, atol=0.01)
