import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax.diffusion import betas
from dit_jax.diffusion.processes import (
    PROCESSES,
    Discrete,
    Process,
    RectifiedFlow,
    Trigonometric,
    VariancePreserving,
    build,
)
from dit_jax.errors import UserError

every_process = pytest.mark.parametrize(
    "process", [make() for make in PROCESSES.values()], ids=list(PROCESSES)
)

every_continuous_process = pytest.mark.parametrize(
    "process",
    [RectifiedFlow(), VariancePreserving(), Trigonometric()],
    ids=lambda process: type(process).__name__,
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


@every_continuous_process
def test_logsnr_takes_its_limit_at_data(process: Process):
    assert process.logsnr(jnp.zeros(1))[0] == jnp.inf


@every_continuous_process
def test_time_0_is_data_bit_for_bit(process: Process):
    x0, eps = normal(0, 4, 3), normal(1, 4, 3)
    np.testing.assert_array_equal(process.add_noise(x0, eps, jnp.zeros(4)), x0)


@every_process
def test_time_1_is_noise(process: Process):
    x0, eps = normal(0, 4, 3), normal(1, 4, 3)
    xt = process.add_noise(x0, eps, jnp.ones(4))
    # VP keeps alpha = exp(-5.025) of the data, Stable Diffusion's steps ten times that.
    left = float(process.alpha(jnp.float32(1)))
    assert left < 0.07
    np.testing.assert_allclose(xt, eps, atol=1.1 * left * float(jnp.abs(x0).max()))


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
        # between two of 1000 steps the angle is straight
        atol = 2e-2 if isinstance(process, Discrete) else 2e-4
        np.testing.assert_allclose(rate(t), slope, atol=atol)


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


DISCRETE = [name for name in PROCESSES if name.startswith("ddpm")]


@pytest.mark.parametrize("name", DISCRETE)
def test_steps_of_a_discrete_process_are_where_its_betas_put_them(name):
    """Products of 1 - beta, one after the other."""
    process = PROCESSES[name]()
    make = getattr(betas, name.removeprefix("ddpm_"))
    t = jnp.arange(1000) / 999
    power, wanted = 1.0, []
    for beta in make(1000):
        power *= 1 - beta
        wanted.append(power)
    alpha, sigma = np.float64(process.alpha(t)), np.float64(process.sigma(t))
    np.testing.assert_allclose(alpha**2, wanted, rtol=2e-5)
    np.testing.assert_allclose(sigma**2, 1 - np.array(wanted), rtol=2e-5)


def test_betas_are_those_of_their_papers():
    linear, scaled = betas.linear(1000), betas.scaled_linear(1000)
    assert (linear[0], linear[-1]) == (1e-4, 0.02)
    assert (scaled[0], scaled[-1]) == pytest.approx((0.00085, 0.012))
    cosine = betas.cosine(1000)
    assert cosine[-1] == 0.999
    f = np.cos((np.arange(1001) / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(np.cumprod(1 - cosine)[:-1], f[1:-1] / f[0], rtol=1e-6)


@pytest.mark.parametrize("name", DISCRETE)
def test_zero_terminal_snr_leaves_nothing_and_keeps_the_first_step(name):
    process = build(name, zero_terminal_snr=True)
    assert process.powers[-1] == 0
    assert process.powers[0] == pytest.approx(PROCESSES[name]().powers[0], rel=1e-12)
    assert float(process.alpha(jnp.float32(1))) == 0


def test_an_snr_shift_divides_the_ratio_everywhere():
    plain, shifted = (
        PROCESSES["ddpm_scaled_linear"](),
        build("ddpm_scaled_linear", snr_shift=3.0),
    )
    ratio = lambda p: p.powers / (1 - p.powers)  # noqa: E731
    np.testing.assert_allclose(ratio(shifted), ratio(plain) / 3, rtol=1e-9)


def test_a_continuous_process_has_no_steps_to_change():
    with pytest.raises(UserError, match="choose a ddpm process"):
        build("rectified_flow", zero_terminal_snr=True)
    with pytest.raises(UserError, match="above 0"):
        build("ddpm_linear", snr_shift=0.0)


def test_powers_that_rise_are_refused():
    with pytest.raises(UserError, match="must fall"):
        Discrete(np.array([0.9, 0.95, 0.1]))


def test_velocity_of_a_variance_preserving_process_is_v_times_a_rate():
    """Both turn the angle atan2(sigma, alpha)."""
    for name in ("variance_preserving", "trigonometric", "ddpm_cosine"):
        process, t = PROCESSES[name](), jnp.linspace(0.1, 0.9, 5)
        alpha, sigma = process.alpha(t), process.sigma(t)
        turn = process.sigma_rate(t) / alpha
        np.testing.assert_allclose(-process.alpha_rate(t) / sigma, turn, rtol=1e-4)
