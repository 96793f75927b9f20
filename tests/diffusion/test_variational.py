import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax.diffusion import betas
from dit_jax.diffusion.losses import BOUNDS, denoising_loss, variational_loss
from dit_jax.diffusion.posteriors import VARIANCES
from dit_jax.diffusion.predictions import PREDICTIONS, target_at
from dit_jax.diffusion.processes import Discrete
from dit_jax.diffusion.samplers.one_step import ddpm
from dit_jax.diffusion.variational import (
    Chain,
    bound_terms,
    log_likelihood,
    normal_kl,
    prior_bpd,
)
from dit_jax.diffusion.weightings import WEIGHTS
from dit_jax.types import Conditioning

LAST = 39
CHAINS = {
    "linear": Chain(Discrete.of_betas(betas.linear(40, 0.0025, 0.5))),
    "cosine": Chain(Discrete.of_betas(betas.cosine(40))),
}
every_chain = pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
STEP = jnp.array([0, 1, 20, LAST])
SHAPE = (4, 2, 3, 3, 5)
LEARNED = ("learned", "learned_range")


def normal(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape or SHAPE)


def column(values) -> jax.Array:
    return jnp.reshape(jnp.asarray(values), (-1, 1, 1, 1, 1))


def terms(chain, variance, out, said=None, x0=None, prediction="x0"):
    x0 = normal(0) if x0 is None else x0
    return bound_terms(
        chain,
        prediction,
        variance,
        out=out,
        said=said,
        x0=x0,
        xt=chain.add_noise(x0, normal(1), STEP),
        step=STEP,
    )


def test_equal_gaussians_have_no_divergence():
    mean, log_variance = normal(0, 50), 3 * normal(1, 50)
    found = normal_kl(mean, log_variance, mean, log_variance)
    np.testing.assert_array_equal(found, 0)


def test_the_divergence_is_the_mean_log_ratio_of_densities():
    mean1, log1, mean2, log2 = 0.3, -1.1, -0.4, 0.2
    z = np.random.default_rng(0).normal(size=400_000)
    x = mean1 + z * np.exp(log1 / 2)

    def log_density(mean, log_variance):
        return -0.5 * (log_variance + (x - mean) ** 2 / np.exp(log_variance))

    ratios = log_density(mean1, log1) - log_density(mean2, log2)
    found = normal_kl(*map(jnp.float32, (mean1, log1, mean2, log2)))
    error = ratios.std() / np.sqrt(len(z))
    np.testing.assert_allclose(found, ratios.mean(), atol=4 * error)


def test_a_tiny_divergence_keeps_its_digits():
    found = normal_kl(jnp.float32(0), jnp.float32(1e-3), jnp.float32(0), jnp.float32(0))
    np.testing.assert_allclose(found, (math.expm1(1e-3) - 1e-3) / 2, rtol=1e-3)


@pytest.mark.parametrize("std", [1e-3, 0.03, 0.5, 3.0])
@pytest.mark.parametrize("mean", [-1.5, -1.0, 0.0, 0.234, 0.999])
def test_the_probabilities_of_all_levels_sum_to_1(mean, std):
    levels = jnp.linspace(-1, 1, 256, dtype=jnp.float32)
    logs = log_likelihood(levels, jnp.full(256, mean), jnp.full(256, math.log(std)))
    np.testing.assert_allclose(np.exp(np.float64(logs)).sum(), 1, rtol=1e-4)


def test_a_level_has_the_gaussians_probability():
    """The approximate distribution function is off by 2e-4 at most."""
    mean, std, k = 0.1, 0.2, np.arange(1, 255)
    x = -1 + 2 * k / 255
    of_z = np.vectorize(lambda z: 0.5 * (1 + math.erf(z / math.sqrt(2))))
    wanted = np.diff([of_z((x + s / 255 - mean) / std) for s in (-1, 1)], axis=0)[0]
    logs = log_likelihood(*map(jnp.float32, (x, mean + 0 * x, math.log(std) + 0 * x)))
    np.testing.assert_allclose(np.exp(logs), wanted, atol=4e-4)


def test_the_tails_of_the_decoder_are_finite_and_bounded_by_the_least_probability():
    x = jnp.array([-1.0, 0.0, 1.0])
    far = jnp.full(3, 1e3), jnp.full(3, -8.0)
    logs, back = jax.vjp(lambda *normal: log_likelihood(x, *normal), *far)
    slopes = back(jnp.ones(3))
    np.testing.assert_allclose(logs, [math.log(1e-12)] * 2 + [0.0], rtol=1e-6)
    assert np.all(np.isfinite(slopes))


@every_chain
def test_the_forward_process_has_the_moments_of_noised_data(chain):
    x0, many = jnp.float32(0.6), 100_000
    for step in (0, 20, LAST):
        draws = chain.add_noise(
            jnp.full((1, many), x0), normal(3, 1, many), jnp.array([step])
        )
        found = chain.forward(jnp.full((1, 1), x0), jnp.array([step]))
        np.testing.assert_allclose(draws.mean(), found.mean[0, 0], atol=0.02)
        np.testing.assert_allclose(draws.var(), found.variance[0, 0], rtol=0.03)
        np.testing.assert_allclose(jnp.exp(found.log_variance), found.variance, 1e-5)


@every_chain
def test_the_posterior_follows_from_bayes_rule(chain):
    """Densities of x_t-1: q(x_t | x_t-1) q(x_t-1 | x_0), normalised on a line."""
    step, x0, xt = 7, 0.4, -0.9
    powers = chain.process.powers
    kept = powers[step] / powers[step - 1]
    x = np.linspace(-6, 6, 200_001)
    log_density = -((xt - np.sqrt(kept) * x) ** 2) / (2 * (1 - kept)) - (
        x - np.sqrt(powers[step - 1]) * x0
    ) ** 2 / (2 * (1 - powers[step - 1]))
    share = np.exp(log_density - log_density.max())
    share /= share.sum()
    mean = (share * x).sum()
    found = chain.posterior(jnp.full((1,), x0), jnp.full((1,), xt), jnp.array([step]))
    np.testing.assert_allclose(found.mean, mean, atol=1e-5)
    variance = (share * (x - mean) ** 2).sum()
    np.testing.assert_allclose(found.variance, variance, rtol=1e-5)


@every_chain
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_true_posterior_as_the_models_step_costs_nothing(chain, prediction):
    x0 = normal(0)
    c = chain.coefficients(STEP, x0)
    perfect = target_at(prediction, x0, normal(1), c)
    found = terms(chain, "fixed_small", perfect, prediction=prediction)
    # x0 is read out of eps, whose last digits alpha magnifies
    np.testing.assert_allclose(found[1:], 0, atol=1e-3)
    if prediction == "x0":
        np.testing.assert_array_equal(found[1:], 0)


@every_chain
def test_a_learned_range_ends_at_the_fixed_variances(chain):
    def log_variance(variance, said=None):
        arguments = normal(0), said, normal(1), STEP
        return chain.reverse("x0", variance, *arguments).normal.log_variance[1:]

    for end, fixed in ((-1.0, "fixed_small"), (1.0, "fixed_large")):
        said = jnp.full(SHAPE, end)
        np.testing.assert_allclose(
            log_variance("learned_range", said),
            jnp.broadcast_to(log_variance(fixed), said[1:].shape),
            rtol=1e-6,
        )


@every_chain
@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
def test_the_step_to_data_takes_the_log_variance_of_the_posterior_before_it(
    chain, variance
):
    steps = jnp.array([0, 1])
    x = jnp.zeros((2, 1))
    model = chain.reverse("x0", variance, x, None, x, steps).normal
    before = chain.posterior(x, x, steps).variance[1]
    np.testing.assert_allclose(jnp.exp(model.log_variance[0]), before, rtol=1e-5)
    wanted = 0.0 if variance == "fixed_small" else before
    np.testing.assert_allclose(model.variance[0], wanted, rtol=1e-5)


@every_chain
def test_a_learned_variance_is_the_exponential_of_what_is_said(chain):
    found = chain.reverse("x0", "learned", normal(0), normal(2), normal(1), STEP)
    np.testing.assert_allclose(found.normal.variance, jnp.exp(normal(2)), rtol=1e-5)


@every_chain
@pytest.mark.parametrize("variance", VARIANCES)
def test_the_sampler_draws_from_the_models_step(chain, variance):
    """One row of its table: the mean of `reverse`, and noise of its variance."""
    steps = ddpm(chain.grid, variance)
    x0, xt, said, z = (normal(seed, 1, 6) for seed in range(4))
    row = LAST - 20
    noise = steps.of_noise[row] * z
    if steps.variances is not None:
        low, high = steps.variances[row]
        noise = noise * jnp.exp((low + (said + 1) / 2 * (high - low)) / 2)
    found = steps.of_x[row] * xt + steps.of_x0[row, 0] * x0 + noise
    model = chain.reverse("x0", variance, x0, said, xt, jnp.array([20])).normal
    wanted = model.mean + jnp.sqrt(model.variance) * z
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


def test_an_unsaid_variance_is_refused():
    with pytest.raises(ValueError, match="the network says none"):
        terms(CHAINS["linear"], "learned_range", normal(0))


@every_chain
def test_a_bound_acts_on_the_x0_that_the_mean_comes_from(chain):
    arguments = "x0", "fixed_small", 3 * normal(0), None, normal(1), STEP
    clipped = chain.reverse(*arguments, bound=lambda x0: jnp.clip(x0, -1, 1))
    np.testing.assert_array_equal(clipped.x0, jnp.clip(3 * normal(0), -1, 1))
    mean = chain.posterior(clipped.x0, normal(1), STEP).mean
    np.testing.assert_array_equal(clipped.normal.mean, mean)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("variance, slack", [("learned", 0.004), ("fixed_large", 0.03)])
def test_the_bound_of_the_exact_model_is_just_above_the_entropy(
    schedule, variance, slack
):
    """Gaussian data in 256 levels, whose best denoiser and variances are known."""
    make = {"linear": betas.linear, "cosine": betas.cosine}[schedule]
    chain = Chain(Discrete.of_betas(make(1000)))
    mean, std, step = 0.1, 0.25, jnp.arange(1000)
    x0 = mean + std * normal(0, 1000, 512)
    x0 = jnp.round((x0 + 1) * 127.5) / 127.5 - 1
    xt = chain.add_noise(x0, normal(1, 1000, 512), step)
    c = chain.coefficients(step, x0)
    power = c.alpha**2 * std**2 + c.sigma**2
    out = mean + c.alpha * std**2 / power * (xt - c.alpha * mean)
    unsure = std**2 * c.sigma**2 / power  # the variance of x0 given xt
    zero, one = (chain.posterior(v + 0 * x0, 0 * x0, step) for v in (0.0, 1.0))
    exact = zero.variance + (one.mean - zero.mean) ** 2 * unsure
    found = bound_terms(
        chain, "x0", variance, out=out, said=jnp.log(exact), x0=x0, xt=xt, step=step
    )
    bits = found.mean(axis=1).sum() + prior_bpd(chain, x0).mean()
    entropy = 0.5 * math.log2(2 * math.pi * math.e * std**2) + math.log2(127.5)
    # within the noise of 512 draws a step
    assert 0.998 * entropy < bits < (1 + slack) * entropy


@every_chain
def test_the_prior_costs_what_is_left_of_the_data(chain):
    power = chain.process.powers[-1]
    x0 = normal(0, 3, 4, 5)
    squares = np.float64(np.square(x0)).reshape(3, -1).mean(axis=1)
    wanted = 0.5 * (-power - np.log1p(-power) + power * squares) / math.log(2)
    found = prior_bpd(chain, {"a": x0[:, :1], "b": x0[:, 1:]})
    np.testing.assert_allclose(found, wanted, rtol=1e-3)


def test_steps_may_differ_by_frame():
    chain, x0 = CHAINS["linear"], normal(0)
    step = jnp.stack([STEP, STEP[::-1]], axis=1)
    both = chain.posterior(x0, normal(1), step).mean
    for frame in range(2):
        alone = chain.posterior(x0[:, frame], normal(1)[:, frame], step[:, frame]).mean
        np.testing.assert_array_equal(both[:, frame], alone)


# The training loss

T = STEP / LAST


def loss(out=None, said=None, denoise_fn=None, chain=CHAINS["linear"], **changes):
    """Of a network that puts out `out` and `said` whatever it sees."""
    out = normal(2) if out is None else out
    said = jnp.tanh(normal(3)) if said is None else said
    both = jnp.concatenate([out, said], axis=-1)
    arguments = {
        "prediction": "eps",
        "loss_in": "eps",
        "x0": normal(0),
        "eps": normal(1),
        "t": T,
        "conditioning": Conditioning(),
    }
    return variational_loss(
        denoise_fn or (lambda *_: both), chain.process, **(arguments | changes)
    )


def gradients(part: str, **arguments):
    """By the prediction and by the variance, of the sum of one part of the loss."""
    return jax.grad(
        lambda *network: getattr(loss(*network, **arguments), part).sum(), (0, 1)
    )(normal(2), jnp.tanh(normal(3)))


@pytest.mark.parametrize("bound", ["mse", "rescaled_mse"])
@pytest.mark.parametrize("variance", LEARNED)
def test_beside_squared_errors_the_bound_moves_the_variance_alone(bound, variance):
    by_mean, by_variance = gradients("vb", bound=bound, variance=variance)
    np.testing.assert_array_equal(by_mean, 0)
    assert np.all(np.any(by_variance != 0, axis=(1, 2, 3, 4)))


def test_squared_errors_do_not_move_the_variance():
    by_mean, by_variance = gradients("mse")
    np.testing.assert_array_equal(by_variance, 0)
    assert np.all(by_mean != 0)


@pytest.mark.parametrize("bound", ["kl", "rescaled_kl"])
@pytest.mark.parametrize("variance", LEARNED)
def test_a_bound_that_is_all_of_the_loss_moves_both(bound, variance):
    for by in gradients("loss", bound=bound, variance=variance):
        assert np.all(np.any(by != 0, axis=(1, 2, 3, 4)))
        assert np.all(np.isfinite(by))


def test_the_squared_errors_are_those_of_the_plain_loss():
    process = CHAINS["linear"].process
    for loss_in in ("x0", "eps", "v"):
        plain = denoising_loss(
            lambda *_: normal(2),
            process,
            "eps",
            loss_in=loss_in,
            x0=normal(0),
            eps=normal(1),
            t=T,
            conditioning=Conditioning(),
        )
        np.testing.assert_allclose(loss(loss_in=loss_in).mse, plain, rtol=1e-4)


def test_kinds_of_bounds_differ_by_their_scale():
    plain, count = loss(), LAST + 1
    np.testing.assert_allclose(plain.loss, plain.mse + plain.vb, rtol=1e-6)
    scaled = loss(bound="rescaled_mse")
    np.testing.assert_allclose(scaled.vb, plain.vb * count / 1000, rtol=1e-6)
    np.testing.assert_allclose(scaled.loss, scaled.mse + scaled.vb, rtol=1e-6)
    for bound, factor in (("kl", 1), ("rescaled_kl", count)):
        found = loss(bound=bound)
        np.testing.assert_allclose(found.loss, plain.vb * factor, rtol=1e-6)
        assert found.mse is None
    halved = loss(vb_weight=0.5)
    np.testing.assert_allclose(halved.loss, plain.mse + 0.5 * plain.vb, rtol=1e-6)


@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
def test_a_fixed_variance_has_no_bound_beside_squared_errors(variance):
    found = loss(variance=variance)
    assert found.vb is None
    np.testing.assert_array_equal(found.loss, found.mse)
    assert np.all(loss(variance=variance, bound="kl").loss > 0)


@pytest.mark.parametrize("bound", BOUNDS)
def test_given_positions_are_no_part_of_any_term(bound):
    mask = (normal(5, *SHAPE[:-1], 1) > 0).astype(jnp.float32)
    told = Conditioning(mask=mask)
    plain = loss(bound=bound, conditioning=told).loss
    other = jnp.where(mask > 0, normal(0), 0.3)
    changed = loss(bound=bound, conditioning=told, x0=other).loss
    np.testing.assert_array_equal(plain, changed)
    assert not np.any(loss(bound=bound, x0=other).loss == plain)


def test_the_network_hears_the_time_of_the_nearest_step():
    heard = {}

    def spy(xt, t, conditioning):
        heard.update(t=t, xt=xt)
        return jnp.concatenate([xt, xt], axis=-1)

    moved = loss(denoise_fn=spy, t=T + 0.004)
    np.testing.assert_array_equal(heard["t"], T)
    xt = CHAINS["linear"].add_noise(normal(0), normal(1), STEP)
    np.testing.assert_array_equal(heard["xt"], xt)
    np.testing.assert_array_equal(moved.loss, loss(denoise_fn=spy).loss)


def test_streams_are_one_loss():
    def split(x):
        return {"a": x[:, :1], "b": x[:, 1:]}

    both = jnp.concatenate([normal(2), jnp.tanh(normal(3))], axis=-1)
    found = loss(
        denoise_fn=lambda *_: split(both), x0=split(normal(0)), eps=split(normal(1))
    )
    for mine, wanted in zip(found, loss(), strict=True):
        np.testing.assert_allclose(mine, wanted, rtol=1e-6)


def test_a_loss_of_bfloat16_outputs_is_float32_and_jits():
    out, said = (x.astype(jnp.bfloat16) for x in (normal(2), jnp.tanh(normal(3))))
    found = jax.jit(lambda out, said: loss(out, said))(out, said)
    assert {part.dtype for part in found} == {jnp.dtype("float32")}


def test_a_weight_has_nothing_to_weigh_where_the_bound_is_all():
    with pytest.raises(ValueError, match="no squared errors to weigh"):
        loss(bound="kl", weight=WEIGHTS["p2"])
