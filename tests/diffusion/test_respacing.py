from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax.diffusion.betas import cosine, linear
from dit_jax.diffusion.processes import Discrete
from dit_jax.diffusion.respacing import Respaced, kept_steps
from dit_jax.diffusion.samplers.one_step import ddim, ddpm, euler
from dit_jax.diffusion.samplers.sampling import sample
from dit_jax.types import Conditioning

LINEAR = Discrete.of_betas(linear(1000))


def respaced(spacing: str, whole: Discrete = LINEAR) -> Respaced:
    return Respaced(whole, kept_steps(whole.num_steps, spacing))


def run(denoise_fn, sampler, grid, start, **options):
    options = {"prediction": "eps", "conditioning": Conditioning()} | options
    return sample(denoise_fn, sampler, grid, start, **options)


def test_sections_keep_their_counts_and_their_ends():
    kept = kept_steps(300, "10,15,20")
    for start, count in ((0, 10), (100, 15), (200, 20)):
        inside = kept[(kept >= start) & (kept < start + 100)]
        assert (len(inside), inside[0], inside[-1]) == (count, start, start + 99)
        assert np.ptp(np.diff(inside)) <= 1  # fractional strides, rounded


@pytest.mark.parametrize("total, spacing", [(1000, "250"), (1000, ""), (37, "2,1,0,9")])
def test_kept_steps_rise_and_are_as_many_as_asked_for(total, spacing):
    kept = kept_steps(total, spacing)
    assert np.all(np.diff(kept) > 0)
    assert kept[0] >= 0 and kept[-1] < total
    assert len(kept) == sum(map(int, spacing.split(","))) if spacing else total


def test_numbers_say_the_same_as_words():
    np.testing.assert_array_equal(kept_steps(99, "7,8"), kept_steps(99, [7, 8]))


@pytest.mark.parametrize("count", [2, 10, 25, 50, 334, 1000])
def test_ddim_keeps_every_kth_from_the_first(count):
    kept = kept_steps(1000, f"ddim{count}")
    assert (len(kept), kept[0], np.ptp(np.diff(kept))) == (count, 0, 0)


@pytest.mark.parametrize(
    "spacing, message",
    [
        ("ddim300", "no whole stride keeps exactly 300 of 1000 steps"),
        ("ddim", "the spacing is 'ddim'"),
        ("ten", "the spacing is 'ten'"),
        ("5,-1", "the spacing is '5,-1'"),
        ([5, -1], "-1 steps are to be kept of a section of 500"),
        ("400,600", "600 steps are to be kept of a section of 500"),
        ("1", "keeps 1 of 1000 steps"),
    ],
)
def test_impossible_spacings_are_refused(spacing, message):
    with pytest.raises(ValueError, match=message):
        kept_steps(1000, spacing)


def test_all_steps_are_the_process_itself():
    np.testing.assert_array_equal(respaced("").process.powers, LINEAR.powers)
    t = jnp.linspace(0, 1, 57)
    np.testing.assert_allclose(respaced("").heard(t), t, atol=1e-6)


def test_kept_steps_have_the_noise_that_they_have_in_the_whole():
    short = respaced("ddim50")
    steps = jnp.arange(50)
    for name in ("alpha", "sigma"):
        mine = getattr(short.process, name)(steps / 49)
        wanted = getattr(LINEAR, name)(jnp.asarray(short.kept) / 999)
        np.testing.assert_allclose(mine, wanted, atol=1e-5)
    np.testing.assert_array_equal(short.process.powers, LINEAR.powers[short.kept])


def test_a_denoiser_hears_the_time_of_the_whole():
    short = respaced("30,10,5")
    heard = []
    denoise = short.hears(lambda xt, t, _: heard.append(t))
    denoise(None, {"a": jnp.arange(45) / 44, "b": jnp.zeros(2)}, Conditioning())
    np.testing.assert_allclose(heard[0]["a"] * 999, short.kept, atol=2e-3)
    np.testing.assert_array_equal(heard[0]["b"], 0)


def network(xt, t, conditioning):
    out = jnp.tanh(0.3 * xt) + t[:, None]
    return jnp.concatenate([out, jnp.sin(xt)], axis=-1)


@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large", "learned_range"])
def test_walking_kept_steps_is_walking_all_steps_of_their_own_process(variance):
    short = respaced("12")
    own = Respaced(short.process, np.arange(12))
    start, z = (jax.random.normal(jax.random.key(i), (12, 3)) for i in range(2))
    arguments = {"noise": lambda i: z * (1 + i)}
    sampler = partial(ddpm, variance=variance)
    one = run(network, sampler, short.grid(), start, **arguments)
    other = run(short.hears(network), sampler, own.grid(), start, **arguments)
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-3)


def exact(process: Discrete, mean: float = 0.4, std: float = 0.5):
    """eps of Gaussian data."""

    def denoise(xt, t, conditioning):
        alpha, sigma = process.alpha(t)[:, None], process.sigma(t)[:, None]
        power = alpha**2 * std**2 + sigma**2
        return sigma / power * (xt - alpha * mean)

    return denoise


@pytest.mark.parametrize("betas", [linear, cosine])
def test_data_that_is_encoded_and_decoded_comes_back(betas):
    whole = Discrete.of_betas(betas(1000))
    steps, data = respaced("500", whole), jnp.linspace(-1, 1.8, 9)[:, None]
    noise = run(exact(whole), euler, steps.encoding_grid(), data)
    # z standard deviations of data become z of noise
    np.testing.assert_allclose(noise, (data - 0.4) / 0.5, atol=0.05)
    again = run(exact(whole), euler, steps.grid(), noise)
    np.testing.assert_allclose(again, data, atol=0.02)


def test_ddim_without_noise_encodes_as_euler_does():
    grid, data = respaced("20").encoding_grid(), jnp.linspace(-1, 1, 5)[:, None]
    found = run(exact(LINEAR), ddim, grid, data)
    np.testing.assert_array_equal(found, run(exact(LINEAR), euler, grid, data))


@pytest.mark.parametrize("sampler", [ddpm, partial(ddim, eta=0.5)])
def test_samplers_that_draw_do_not_walk_to_more_noise(sampler):
    with pytest.raises(ValueError, match="a step to more noise has no posterior"):
        sampler(respaced("20").encoding_grid())


def test_an_eta_that_draws_more_noise_than_there_is_to_be_is_refused():
    grid = respaced("10").grid()
    ddim(grid, eta=1.0)
    with pytest.raises(ValueError, match="eta is 3"):
        ddim(grid, eta=3.0)
