import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax.diffusion.processes import (
    PROCESSES,
    Process,
    RectifiedFlow,
    VariancePreserving,
)

every_process = pytest.mark.parametrize(
    "process", [make() for make in PROCESSES.values()], ids=list(PROCESSES)
)


def normal(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


@every_process
def test_logsnr_falls_from_data_to_noise(process: Process):
    assert jnp.all(jnp.diff(process.logsnr(jnp.linspace(0.01, 0.99, 64))) < 0)


@every_process
def test_logsnr_is_the_ratio_of_alpha_and_sigma(process: Process):
    t = jnp.linspace(0.01, 0.99, 16)
    ratio = np.float64(process.alpha(t)) / np.float64(process.sigma(t))
    np.testing.assert_allclose(process.logsnr(t), 2 * np.log(ratio), atol=2e-5)


@every_process
def test_logsnr_takes_its_limit_at_data(process: Process):
    assert process.logsnr(jnp.zeros(1))[0] == jnp.inf


@every_process
def test_time_0_is_data_bit_for_bit(process: Process):
    x0, eps = normal(0, 4, 3), normal(1, 4, 3)
    np.testing.assert_array_equal(process.add_noise(x0, eps, jnp.zeros(4)), x0)


@every_process
def test_time_1_is_noise(process: Process):
    x0, eps = normal(0, 4, 3), normal(1, 4, 3)
    xt = process.add_noise(x0, eps, jnp.ones(4))
    # VP keeps alpha = exp(-5.025) of the data.
    np.testing.assert_allclose(xt, eps, atol=0.007 * float(jnp.abs(x0).max()))


@every_process
def test_rates_are_the_slopes_of_alpha_and_sigma(process: Process):
    t, h = jnp.linspace(0.1, 0.9, 9), 1e-2
    for value, rate in [
        (process.alpha, process.alpha_rate),
        (process.sigma, process.sigma_rate),
    ]:
        slope = (
            8 * (value(t + h) - value(t - h)) - (value(t + 2 * h) - value(t - 2 * h))
        ) / (12 * h)
        np.testing.assert_allclose(rate(t), slope, atol=2e-4)


def test_rectified_flow_noises_along_a_straight_line():
    process, x0, eps = RectifiedFlow(), normal(0, 4, 3), normal(1, 4, 3)
    t = jnp.array([0.1, 0.3, 0.5, 0.8])
    wanted = np.float64(x0) + np.float64(t)[:, None] * (
        np.float64(eps) - np.float64(x0)
    )
    np.testing.assert_allclose(process.add_noise(x0, eps, t), wanted, atol=1e-6)


def test_vp_keeps_unit_variance_also_at_tiny_times():
    t = jnp.array([1e-6, 1e-4, 1e-2, 0.5, 1.0])
    process = VariancePreserving()
    power = np.float64(process.alpha(t)) ** 2 + np.float64(process.sigma(t)) ** 2
    np.testing.assert_allclose(power, 1, atol=1e-6)
    # sigma^2 = beta_min t for small t, to the last digits.
    np.testing.assert_allclose(process.sigma(t)[0] ** 2, 1e-7, rtol=2e-4)


def test_vp_alpha_solves_its_equation():
    """dalpha/dt = -beta(t) alpha / 2 and dsigma/dt = beta alpha^2 / (2 sigma)."""
    process, t = VariancePreserving(beta_min=0.3, beta_max=7.0), jnp.linspace(0.1, 1, 8)
    beta = 0.3 + 6.7 * t
    alpha, sigma = process.alpha(t), process.sigma(t)
    np.testing.assert_allclose(process.alpha_rate(t), -beta * alpha / 2, rtol=1e-5)
    np.testing.assert_allclose(
        process.sigma_rate(t), beta * alpha**2 / (2 * sigma), rtol=1e-4
    )


def test_falling_betas_are_refused():
    with pytest.raises(ValueError, match="0 < beta_min <= beta_max"):
        VariancePreserving(beta_min=20.0, beta_max=0.1)
