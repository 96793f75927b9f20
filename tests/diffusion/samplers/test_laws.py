"""Every sampler of the table, with a denoiser that makes no mistake."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax.diffusion import samplers
from dit_jax.diffusion.grids import make_grid
from dit_jax.diffusion.points import Grid, of_process
from dit_jax.diffusion.processes import PROCESSES
from dit_jax.diffusion.samplers import SAMPLERS, choose_sampler
from dit_jax.diffusion.samplers.steps import Belief
from tests.diffusion.laws import (
    GAUSSIAN,
    MEAN,
    MEANS,
    MIXTURE,
    STD,
    STDS,
    WEIGHTS,
    gaussian_path,
    mean_x0,
    normal,
    walk,
)

# Those that divide by alpha start where some data is left, those that follow the
# velocity end where noise still has a rate.
ABOVE_0 = {"sde_dpm_2m"} | {
    name for name in SAMPLERS if name.startswith(("ode", "sde_e", "sde_h"))
}
FROM_BELOW_1 = {"edm", "dpm_2m", "dpm_3m", "sde_dpm_2m"}
# The order in which a sampler's error falls. The third orders start with steps of
# orders 1 and 2, which leaves them with 2, as their references do.
ORDERS = {
    "euler": 1,
    "ddim": 1,
    "heun": 2,
    "edm": 2,
    "midpoint": 2,
    "dpm_2m": 2,
    "dpm_3m": 2,
    "dpmpp_2m": 2,
    "dpmpp_3m": 2,
    "unipc": 2,
    "unipc_3": 2,
    "ode_euler": 1,
    "ode_heun": 2,
    "ode_midpoint": 2,
}
# Where a Gaussian is a lucky case: the leading error happens to vanish.
LUCKY = {("midpoint", "trigonometric"), ("dpmpp_3m", "variance_preserving")}
ALIKE = {"ddpm_scaled_linear", "ddpm_cosine"}  # tables as ddpm_linear is one
every_process = pytest.mark.parametrize(
    "process",
    [
        pytest.param(make(), id=name, marks=[pytest.mark.slow] * (name in ALIKE))
        for name, make in PROCESSES.items()
    ],
)
every_sampler = pytest.mark.parametrize("name", SAMPLERS)
# Renoised samples are for models that know where a path ends, which no mean is.
every_denoising_sampler = pytest.mark.parametrize(
    "name", [name for name in SAMPLERS if name != "renoised"]
)


def ends(name, process):
    """Where a sampler can start and stop."""
    starts_below = name in FROM_BELOW_1 and float(process.alpha(jnp.float32(1))) < 1e-4
    t_min = 1e-3 if name in ABOVE_0 else 0.0
    return {"t_max": 0.999 if starts_below else 1.0, "t_min": t_min}


@every_process
@every_denoising_sampler
def test_the_exact_denoiser_of_a_mixture_reaches_its_law(name, process):
    mean = float(WEIGHTS @ MEANS)
    std = float(jnp.sqrt(WEIGHTS @ (STDS**2 + MEANS**2) - mean**2))
    grid = make_grid("uniform", process, 200, **ends(name, process))
    x = walk(SAMPLERS[name](grid), normal(0, 20000), MIXTURE)
    np.testing.assert_allclose(x.mean(), mean, atol=4 * std / np.sqrt(len(x)) + 0.02)
    np.testing.assert_allclose(x.std(), std, rtol=0.03)
    left = (x < -0.4).mean()  # between the modes, where next to no data is
    np.testing.assert_allclose(left, WEIGHTS[0], atol=0.02)


# Two long Gaussians across each other: no coordinate can be denoised alone.
PLANE_MEANS = np.array([[1.0, 0.5], [-0.8, 0.2]])
PLANE_SPREADS = np.array([[[0.5, 0.3], [0.3, 0.3]], [[0.3, -0.2], [-0.2, 0.4]]])
PLANE_WEIGHTS = np.array([0.3, 0.7])


@jax.jit
def walk_on_a_plane(table, start):
    def believed(x, point):
        power = point.alpha**2 * PLANE_SPREADS + point.sigma**2 * jnp.eye(2)[None]
        off = x[:, None] - (point.alpha * PLANE_MEANS)[None]
        pulled = jnp.einsum("kij,nkj->nki", jnp.linalg.inv(power), off)
        size = jnp.log(PLANE_WEIGHTS) - jnp.linalg.slogdet(power)[1] / 2
        share = jax.nn.softmax(size[None] - jnp.sum(off * pulled, -1) / 2)
        near = jnp.einsum("kij,nkj->nki", point.alpha * PLANE_SPREADS, pulled)
        x0 = jnp.einsum("nk,nki->ni", share, PLANE_MEANS[None] + near)
        return Belief(x0, (x - point.alpha * x0) / point.sigma)

    return table.run(
        believed,
        start,
        lambda row: jax.random.normal(jax.random.key(row + 100), start.shape),
    )


@every_denoising_sampler
def test_a_mixture_on_a_plane_has_its_mean_and_covariance(name):
    mean = PLANE_WEIGHTS @ PLANE_MEANS
    away = PLANE_MEANS - mean
    covariance = np.einsum("k,kij->ij", PLANE_WEIGHTS, PLANE_SPREADS)
    covariance += np.einsum("k,ki,kj->ij", PLANE_WEIGHTS, away, away)
    process = PROCESSES["rectified_flow"]()
    table = SAMPLERS[name](make_grid("uniform", process, 200, **ends(name, process)))
    x = np.float64(walk_on_a_plane(table, normal(7, 20000, 2)))
    bias = 0.02  # of 200 steps of first order
    power = np.diag(covariance)
    assert np.all(np.abs(x.mean(0) - mean) < 4 * np.sqrt(power / len(x)) + bias)
    errors = 4 * np.sqrt(2 * np.outer(power, power) / len(x)) + bias
    assert np.all(np.abs(np.cov(x.T) - covariance) < errors)


@every_process
def test_renoised_samples_of_an_exact_consistency_function_have_its_law(process):
    def path_end(xt, point):
        power = point.alpha**2 * STD**2 + point.sigma**2
        x0 = MEAN + STD * (xt - point.alpha * MEAN) / jnp.sqrt(power)
        return Belief(x0, (xt - point.alpha * x0) / point.sigma)

    table = SAMPLERS["renoised"](make_grid("uniform", process, 4))
    x = np.float64(
        table.run(path_end, normal(0, 20000), lambda row: normal(row + 1, 20000))
    )
    np.testing.assert_allclose(x.mean(), MEAN, atol=4 * STD / np.sqrt(len(x)))
    np.testing.assert_allclose(x.std(), STD, rtol=0.02)


def order_of_convergence(sampler, process) -> float:
    t_max, t_min = 0.95, 0.1  # sigma of some grows like a root at 0
    counts, errors = (40, 80, 160), []
    with jax.enable_x64(True):
        law = tuple(jnp.float64(p) for p in GAUSSIAN)
        noise = jnp.linspace(-2.0, 2.0, 41)
        wanted = gaussian_path(process, noise, t_min)
        start = jnp.float64(gaussian_path(process, noise, t_max))
        for count in counts:
            grid = make_grid("uniform", process, count, t_max=t_max, t_min=t_min)
            found = walk(sampler(grid), start, law)
            errors.append(np.sqrt(np.square(found - wanted).mean()))
    return -np.polyfit(np.log(counts), np.log(errors), 1)[0]


@pytest.mark.parametrize("process", ["variance_preserving", "trigonometric"])
@pytest.mark.parametrize("name, order", ORDERS.items())
def test_the_error_falls_with_the_order_of_the_method(name, order, process):
    found = order_of_convergence(SAMPLERS[name], PROCESSES[process]())
    assert found > order - 0.3
    assert found < order + 0.3 or (name, process) in LUCKY


def test_the_documented_sampler_is_of_second_order(monkeypatch):
    page = Path(__file__).parents[3] / "docs" / "diffusion.md"
    code = page.read_text().split("```python")[1].split("```")[0]
    assert len(code.strip().splitlines()) < 30
    added = dict(SAMPLERS)
    monkeypatch.setattr(samplers, "SAMPLERS", added)
    exec(code, {})
    process = PROCESSES["variance_preserving"]()
    order = order_of_convergence(added["adams_bashforth"], process)
    assert order == pytest.approx(2, abs=0.3)


def test_every_sampler_is_in_the_documented_table():
    page = (Path(__file__).parents[3] / "docs" / "diffusion.md").read_text()
    assert [name for name in SAMPLERS if f"`{name}`" not in page] == []


def test_every_sampler_without_noise_has_an_order():
    grid = make_grid("uniform", PROCESSES["rectified_flow"](), 4, t_max=0.9, t_min=0.1)
    assert set(ORDERS) == {n for n, make in SAMPLERS.items() if not make(grid).draws}


# With an exact past: one more than the order of the method. DPM-Solver's released third
# order halves its last difference and so gains no order; UniPC's corrector gains one.
LOCAL_ORDERS = {
    "euler": 2,
    "dpm_2m": 3,
    "dpm_3m": 3,
    "dpmpp_2m": 3,
    "dpmpp_2m:rule=heun": 3,
    "dpmpp_3m": 3,
    "unipc": 4,
    "unipc:believes=eps": 4,
    "unipc_3": 5,
}


@pytest.mark.parametrize("name, order", LOCAL_ORDERS.items())
def test_one_step_with_an_exact_past_is_as_good_as_its_order(name, order):
    process, errors = PROCESSES["variance_preserving"](), []
    if name != "euler":
        name += "," if ":" in name else ":"
        name += "low_order_end=False"
    steps = np.array([0.04, 0.02, 0.01])
    for step in steps:
        times = 0.5 + step * np.array([3.0, 2, 1, 0, -1])
        points = of_process(process, times)
        table, i = choose_sampler(name, process)(Grid.along(points)), 3
        x = points.alpha * MEAN + 1.3 * np.hypot(points.alpha * STD, points.sigma)
        with jax.enable_x64(True):
            law = tuple(jnp.float64(p) for p in GAUSSIAN)
            x0 = np.asarray(
                mean_x0(
                    jnp.asarray(x), points.alpha[:, None], points.sigma[:, None], law
                )
            )
        eps = (x - points.alpha * x0) / points.sigma
        past = i - np.arange(4)
        found = table.of_x[i] * x[i]
        found += table.of_x0[i] @ x0[past[: table.of_x0.shape[1]]]
        found += table.of_eps[i] @ eps[past[: table.of_eps.shape[1]]]
        errors.append(abs(found - x[i + 1]))
    slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert slope == pytest.approx(order, abs=0.45)


@every_process
@every_sampler
def test_noise_added_to_data_is_removed_by_the_exact_denoiser(name, process):
    """One example is known: its denoiser points at it from everywhere."""
    data, noise, t_max = normal(3, 24), normal(4, 24), 0.6
    steps, t_min = (1000, 1e-4) if name in ABOVE_0 else (6, 0.0)
    grid = make_grid("uniform", process, steps, t_max=t_max, t_min=t_min)

    def point_at_data(xt, point):
        return Belief(data, (xt - point.alpha * data) / point.sigma)

    xt = process.add_noise(data, noise, jnp.full(24, t_max))
    found = SAMPLERS[name](grid).run(point_at_data, xt, lambda row: normal(row, 24))
    # what integrators in time leave: the noise of t_min and their own error
    np.testing.assert_allclose(found, data, atol=0.1 if name in ABOVE_0 else 2e-6)


@every_process
@pytest.mark.parametrize("name", ["ancestral", "ddpm", "ddim:eta=1.0"])
def test_an_ancestral_step_draws_from_the_posterior(name, process):
    """Its mean and variance, from Bayes' rule for x_next given xt and x0."""
    points = of_process(process, np.array([0.7, 0.45]))
    (a, a_next), (s, s_next) = points.alpha, points.sigma
    x0, xt, ratio = -0.4, 1.3, a / a_next
    between = s**2 - (ratio * s_next) ** 2  # variance of xt given x_next
    mean = (ratio * s_next**2 * xt + a_next * between * x0) / s**2

    def believed(x, point):
        return Belief(jnp.full_like(x, x0), (x - point.alpha * x0) / point.sigma)

    table = choose_sampler(name, process)(Grid.along(points))
    x = np.float64(
        table.run(believed, jnp.full(200_000, xt), lambda row: normal(0, 200_000))
    )
    std = np.sqrt(between) * s_next / s
    np.testing.assert_allclose(x.mean(), mean, atol=5 * std / np.sqrt(len(x)))
    np.testing.assert_allclose(x.std(), std, rtol=0.01)
