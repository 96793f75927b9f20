from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax.diffusion import samplers
from dit_jax.diffusion.predictions import PREDICTIONS, target
from dit_jax.diffusion.processes import PROCESSES, Process, RectifiedFlow
from dit_jax.diffusion.samplers import SAMPLERS, Sampler, euler, sample, time_grid
from dit_jax.types import Conditioning

MEAN, STD = 0.7, 0.5
WEIGHTS, MEANS, STDS = (
    jnp.array([0.3, 0.7]),
    jnp.array([-1.5, 1.0]),
    jnp.array([0.3, 0.5]),
)
every_process = pytest.mark.parametrize(
    "process", [make() for make in PROCESSES.values()], ids=list(PROCESSES)
)
ANCESTRAL = SAMPLERS["ancestral"]
every_sampler = pytest.mark.parametrize("name", SAMPLERS)


def normal(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


def mixture_x0(process: Process, weights, means, stds):
    """E[x0 | xt] for data of a Gaussian mixture, elementwise."""

    weights, means, stds = (jnp.reshape(p, (1, 1, -1)) for p in (weights, means, stds))

    def x0(xt, t):
        alpha, sigma = (f(t)[:, None, None] for f in (process.alpha, process.sigma))
        x = xt[..., None]
        variance = alpha**2 * stds**2 + sigma**2
        residual = x - alpha * means
        log_share = (
            jnp.log(weights) - residual**2 / (2 * variance) - jnp.log(variance) / 2
        )
        each = means + alpha * stds**2 / variance * residual
        return jnp.sum(jax.nn.softmax(log_share, axis=-1) * each, axis=-1)

    return x0


def exact_denoiser(process: Process, prediction: str, *law):
    """The best possible denoiser: the conditional mean of its target."""
    mean_x0 = mixture_x0(process, *(law or (1.0, MEAN, STD)))

    def denoise(xt, t, conditioning):
        x0 = mean_x0(xt, t)
        eps = (xt - process.alpha(t)[:, None] * x0) / process.sigma(t)[:, None]
        return target(prediction, process, x0, eps, t)

    return denoise


def run(denoise_fn, sampler: Sampler, grid, noise, process, prediction="x0"):
    return sample(
        denoise_fn,
        sampler,
        grid,
        noise,
        process=process,
        prediction=prediction,
        conditioning=Conditioning(),
        fresh_noise=lambda step: jax.tree.map(
            lambda leaf: jax.random.normal(
                jax.random.fold_in(jax.random.key(99), step), leaf.shape
            ),
            noise,
        ),
    )


def gaussian_path(process: Process, noise: jax.Array, t: float) -> np.ndarray:
    """Where the ODE takes noise: z standard deviations stay z standard deviations."""
    alpha, sigma = (
        np.float64(f(jnp.float32(t))) for f in (process.alpha, process.sigma)
    )
    return alpha * MEAN + np.sqrt(alpha**2 * STD**2 + sigma**2) * np.float64(noise)


def start_of(process: Process, noise: jax.Array, t: float = 1.0) -> jax.Array:
    return jnp.asarray(gaussian_path(process, noise, t), jnp.float32)


@every_process
@every_sampler
def test_the_exact_denoiser_of_a_gaussian_reaches_its_law(name, process):
    noise = normal(0, 20000, 1)
    x = np.float64(
        run(
            exact_denoiser(process, "x0"),
            SAMPLERS[name],
            time_grid(800),
            noise,
            process,
        )
    )
    error = STD / np.sqrt(len(x))
    # VP at t = 1 still holds 0.7 % of the mean, which pure noise lacks.
    np.testing.assert_allclose(x.mean(), MEAN, atol=4 * error + 0.005)
    np.testing.assert_allclose(x.std(), STD, rtol=0.02)


@every_process
@every_sampler
def test_the_exact_denoiser_of_a_mixture_reaches_its_law(name, process):
    law = (WEIGHTS, MEANS, STDS)
    mean = float(WEIGHTS @ MEANS)
    std = float(jnp.sqrt(WEIGHTS @ (STDS**2 + MEANS**2) - mean**2))
    x = np.float64(
        run(
            exact_denoiser(process, "x0", *law),
            SAMPLERS[name],
            time_grid(200),
            normal(0, 20000, 1),
            process,
        )
    )
    np.testing.assert_allclose(x.mean(), mean, atol=4 * std / np.sqrt(len(x)) + 0.01)
    np.testing.assert_allclose(x.std(), std, rtol=0.02)
    left = (x < -0.4).mean()  # between the modes, where next to no data is
    np.testing.assert_allclose(left, WEIGHTS[0], atol=0.015)


def order_of_convergence(sampler: Sampler, process: Process) -> float:
    noise = jnp.linspace(-2, 2, 41)[:, None]
    t_max, t_min = 0.95, 0.05  # sigma of VP grows like a root at 0
    wanted = gaussian_path(process, noise, t_min)
    start = start_of(process, noise, t_max)
    counts, errors = (16, 32, 64), []
    for num_steps in counts:
        grid = time_grid(num_steps, t_max=t_max, t_min=t_min)
        x = run(exact_denoiser(process, "x0"), sampler, grid, start, process)
        errors.append(np.sqrt(np.square(x - wanted).mean()))
    return -np.polyfit(np.log(counts), np.log(errors), 1)[0]


@every_process
@pytest.mark.parametrize("name, order", [("euler", 1), ("heun", 2)])
def test_the_error_falls_with_the_order_of_the_method(name, order, process):
    assert order_of_convergence(SAMPLERS[name], process) == pytest.approx(
        order, abs=0.3
    )


def test_the_documented_sampler_is_of_second_order(monkeypatch):
    page = Path(__file__).parents[2] / "docs" / "diffusion.md"
    code = page.read_text().split("```python")[1].split("```")[0]
    added = dict(SAMPLERS)
    monkeypatch.setattr(samplers, "SAMPLERS", added)
    exec(code, {})
    # On rectified flow a Gaussian is a lucky case for it: third order.
    order = order_of_convergence(added["midpoint"], PROCESSES["variance_preserving"]())
    assert order == pytest.approx(2, abs=0.3)


@every_process
@every_sampler
def test_noise_added_to_data_is_removed_by_the_exact_denoiser(name, process):
    """One example is known: its denoiser points at it from everywhere."""
    data = normal(3, 4, 6)
    t_max = 0.6
    xt = process.add_noise(data, normal(4, 4, 6), jnp.full(4, t_max))
    grid = time_grid(5, t_max=t_max)
    found = run(lambda *_: data, SAMPLERS[name], grid, xt, process)
    np.testing.assert_array_equal(found, data)


@every_process
def test_an_ancestral_step_draws_from_the_posterior(process):
    """Its mean and variance, from Bayes' rule for x_next given xt and x0."""
    grid = np.array([0.7, 0.45], np.float32)
    a, s, a_next, s_next = (
        np.float64(f(jnp.float32(t)))
        for t in grid
        for f in (process.alpha, process.sigma)
    )
    x0, xt, ratio = -0.4, 1.3, a / a_next
    between = s**2 - (ratio * s_next) ** 2  # variance of xt given x_next
    mean = (ratio * s_next**2 * xt + a_next * between * x0) / s**2
    xt_rows = jnp.full((200_000, 1), xt)
    x = np.float64(
        run(lambda x, *_: jnp.full_like(x, x0), ANCESTRAL, grid, xt_rows, process)
    )
    std = np.sqrt(between) * s_next / s
    np.testing.assert_allclose(x.mean(), mean, atol=5 * std / np.sqrt(len(x)))
    np.testing.assert_allclose(x.std(), std, rtol=0.01)


def test_an_ancestral_sampler_without_noise_is_refused():
    with pytest.raises(ValueError, match="pass fresh_noise"):
        sample(
            lambda xt, *_: xt,
            ANCESTRAL,
            time_grid(2),
            normal(0, 2, 1),
            process=RectifiedFlow(),
            prediction="x0",
            conditioning=Conditioning(),
        )


@every_process
def test_the_last_step_lands_on_the_predicted_x0(process):
    x = run(
        lambda xt, t, _: jnp.cos(xt),
        SAMPLERS["euler"],
        time_grid(1),
        normal(0, 3, 4),
        process,
    )
    np.testing.assert_array_equal(x, jnp.cos(normal(0, 3, 4)))


def test_euler_on_rectified_flow_steps_along_velocity():
    denoise = lambda xt, t, _: jnp.sin(3 * xt) + t[:, None]  # noqa: E731
    grid, x = time_grid(7, shift=2.0), np.float64(normal(0, 3, 4))
    found = run(
        denoise, Sampler(euler), grid, normal(0, 3, 4), RectifiedFlow(), "velocity"
    )
    for t, t_next in zip(grid[:-1], grid[1:], strict=True):
        x = x + (np.float64(t_next) - np.float64(t)) * (np.sin(3 * x) + np.float64(t))
    np.testing.assert_allclose(found, x, atol=1e-5)


@every_process
@every_sampler
def test_samples_do_not_depend_on_what_is_predicted(name, process):
    grid, noise = time_grid(8, t_max=0.98), normal(0, 16, 3)
    first, *others = (
        run(exact_denoiser(process, kind), SAMPLERS[name], grid, noise, process, kind)
        for kind in PREDICTIONS
    )
    for other in others:
        np.testing.assert_allclose(other, first, atol=2e-5)


@pytest.mark.parametrize("name, calls", [("euler", 6), ("heun", 11)])
def test_model_calls_per_step_are_as_promised(name, calls):
    times = []

    def counted(xt, t, conditioning):
        times.append(float(t[0]))
        return xt

    with jax.disable_jit():
        run(counted, SAMPLERS[name], time_grid(6), normal(0, 1, 2), RectifiedFlow())
    assert len(times) == calls
    assert min(times) > 0


def test_the_model_is_traced_once_for_all_steps_of_euler():
    traces = []

    def counted(xt, t, conditioning):
        traces.append(t.shape)
        return xt

    run(counted, SAMPLERS["euler"], time_grid(6), normal(0, 5, 2), RectifiedFlow())
    assert traces == [(5,)]


@every_sampler
def test_streams_are_sampled_together_as_alone(name):
    process = RectifiedFlow()
    denoise = exact_denoiser(process, "x0")

    def streams(xt, t, conditioning):
        return {key: denoise(x, t[key], conditioning) for key, x in xt.items()}

    noise = {"a": normal(0, 2, 3), "b": normal(1, 2, 7)}
    found = run(streams, SAMPLERS[name], time_grid(4), noise, process)
    for key, z in noise.items():
        alone = run(denoise, SAMPLERS[name], time_grid(4), z, process)
        np.testing.assert_allclose(found[key], alone, atol=1e-6)


@every_sampler
def test_the_state_is_float32_whatever_the_model_puts_out(name):
    process, exact = RectifiedFlow(), exact_denoiser(RectifiedFlow(), "x0")
    low = lambda *a: exact(*a).astype(jnp.bfloat16)  # noqa: E731
    x = run(low, SAMPLERS[name], time_grid(4), normal(0, 2, 3), process)
    assert x.dtype == jnp.float32


@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0, 12.0])
@pytest.mark.parametrize("t_max, t_min", [(1.0, 0.0), (0.98, 0.02)])
def test_grids_fall_and_meet_their_ends_exactly(shift, t_max, t_min):
    grid = time_grid(50, shift, t_max, t_min)
    assert len(grid) == 51
    assert np.all(np.diff(grid) < 0)
    assert (grid[0], grid[-1]) == (np.float32(t_max), np.float32(t_min))


def test_a_shift_spends_steps_near_noise():
    assert np.median(time_grid(50, 3.0)) == pytest.approx(0.75)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((0,), "at least 1"),
        ((5, 0.0), "above 0"),
        ((5, 1.0, 0.2, 0.5), "t_min < t_max"),
        ((100, 1e9), "lower the shift"),
    ],
)
def test_impossible_grids_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        time_grid(*arguments)


@pytest.mark.parametrize("jit", [False, True])
def test_sampling_eps_from_where_no_data_is_left_is_refused(jit):
    def eps_from_1(noise):
        return run(
            lambda xt, *_: xt,
            SAMPLERS["euler"],
            time_grid(4),
            noise,
            RectifiedFlow(),
            "eps",
        )

    with pytest.raises(ValueError, match="alpha is 0.*t_max"):
        (jax.jit(eps_from_1) if jit else eps_from_1)(normal(0, 1, 2))
