"""`sample`: what it asks of a denoiser, and what it refuses."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax.diffusion import samplers
from dit_jax.diffusion.grids import make_grid
from dit_jax.diffusion.predictions import PREDICTIONS
from dit_jax.diffusion.processes import PROCESSES, RectifiedFlow
from dit_jax.diffusion.samplers import (
    SAMPLERS,
    choose_sampler,
    clipped,
    planned,
    sample,
)
from dit_jax.diffusion.samplers.one_step import ddpm
from dit_jax.diffusion.times import FIRST_TRAINED, LAST_TRAINED
from dit_jax.errors import NoAnswer, UserError
from dit_jax.types import Conditioning
from tests.diffusion.laws import GAUSSIAN, exact_denoiser, normal, walk

FLOW = RectifiedFlow()
every_process = pytest.mark.parametrize(
    "process", [make() for make in PROCESSES.values()], ids=list(PROCESSES)
)
every_sampler = pytest.mark.parametrize("name", SAMPLERS)


def run(denoise_fn, name, grid, start, prediction="x0", **options):
    def noise(row):
        key = jax.random.fold_in(jax.random.key(99), row)
        return jax.tree.map(lambda leaf: jax.random.normal(key, leaf.shape), start)

    return sample(
        denoise_fn,
        choose_sampler(name, FLOW),
        grid,
        start,
        prediction=prediction,
        conditioning=Conditioning(),
        noise=noise,
        **options,
    )


def inner(process=FLOW, steps=6):
    return make_grid("uniform", process, steps, t_max=0.98, t_min=0.02)


@every_process
@pytest.mark.parametrize("name", ["euler", "dpm_2m", "unipc", "ode_heun", "sde_euler"])
def test_samples_do_not_depend_on_what_is_predicted(name, process):
    grid, start = inner(process), normal(0, 16, 3)
    first, *others = (
        run(exact_denoiser(process, kind), name, grid, start, kind)
        for kind in PREDICTIONS
    )
    for other in others:
        np.testing.assert_allclose(other, first, atol=2e-4)


def test_a_denoiser_and_what_it_believes_are_sampled_alike():
    grid, start = inner(), normal(0, 16, 3)
    found = run(exact_denoiser(FLOW, "velocity"), "dpmpp_2m", grid, start, "velocity")
    expected = walk(SAMPLERS["dpmpp_2m"](grid), start, GAUSSIAN)
    np.testing.assert_allclose(found, expected, atol=1e-5)


CALLS = {  # of 6 steps
    "euler": 6,
    "ancestral": 6,
    "ddpm": 6,
    "dpmpp_2m": 6,
    "dpmpp_3m": 6,
    "unipc": 6,
    "unipc_3": 6,
    "sde_euler": 6,
    "midpoint": 6,
    "heun": 11,
    "edm": 11,
    "ode_heun": 12,
    "sde_heun": 11,
}


@pytest.mark.parametrize("name, calls", CALLS.items())
def test_model_calls_are_as_many_as_promised(name, calls):
    times = []

    def counted(xt, t, conditioning):
        jax.debug.callback(lambda t: times.append(float(t)), t[0])
        return xt

    run(counted, name, inner(), normal(0, 1, 2))
    jax.effects_barrier()
    assert len(times) == calls
    assert min(times) > 0


@every_sampler
def test_the_model_is_traced_once_for_all_steps(name):
    traces = []

    def counted(xt, t, conditioning):
        traces.append(t.shape)
        return xt

    run(counted, name, inner(), normal(0, 5, 2))
    assert traces == [(5,)]


def test_tables_of_one_shape_share_a_program():
    compiled = []

    @jax.jit
    def walked(table, start):
        compiled.append(len(table))
        believed = samplers.make_estimate(lambda xt, *_: xt, "x0", Conditioning())
        return table.run(believed, start, None)

    for name in ("euler", "ddim", "heun:"):
        for process in (RectifiedFlow(), PROCESSES["ddpm_linear"]()):
            walked(choose_sampler(name, process)(inner(process)), normal(0, 1, 2))
    assert compiled == [6, 11]


@every_sampler
def test_streams_are_sampled_together_as_alone(name):
    denoise, grid = exact_denoiser(FLOW, "x0"), inner(steps=4)

    def streams(xt, t, conditioning):
        return {key: denoise(x, t[key], conditioning) for key, x in xt.items()}

    start = {"a": normal(0, 2, 3), "b": normal(1, 2, 7)}
    found = run(streams, name, grid, start)
    for key, z in start.items():
        alone = run(denoise, name, grid, z)
        np.testing.assert_allclose(found[key], alone, rtol=1e-4, atol=1e-5)


@every_sampler
def test_the_state_is_float32_whatever_the_model_puts_out(name):
    exact = exact_denoiser(FLOW, "x0")
    low = lambda *a: exact(*a).astype(jnp.bfloat16)  # noqa: E731
    assert run(low, name, inner(steps=4), normal(0, 2, 3)).dtype == jnp.float32


@every_process
def test_the_last_step_lands_on_the_predicted_x0(process):
    grid, start = make_grid("uniform", process, 1), normal(0, 3, 4)
    x = run(lambda xt, t, _: jnp.cos(xt), "euler", grid, start)
    np.testing.assert_array_equal(x, jnp.cos(start))


def test_euler_on_rectified_flow_steps_along_velocity():
    denoise = lambda xt, t, _: jnp.sin(3 * xt) + t[:, None]  # noqa: E731
    grid, start = make_grid("uniform", FLOW, 7, shift=2.0), normal(0, 3, 4)
    found, x = run(denoise, "euler", grid, start, "velocity"), np.float64(start)
    for t, t_next in zip(grid.calls.t, grid.ends.t, strict=True):
        x = x + (t_next - t) * (np.sin(3 * x) + t)
    np.testing.assert_allclose(found, x, atol=1e-5)


def test_every_state_can_be_kept():
    grid, start = inner(), normal(0, 3, 4)
    states = run(exact_denoiser(FLOW, "x0"), "dpmpp_2m", grid, start, keep=True)
    last = run(exact_denoiser(FLOW, "x0"), "dpmpp_2m", grid, start)
    assert states.shape == (6, 3, 4)
    np.testing.assert_array_equal(states[-1], last)


def test_a_bound_keeps_x0_within_it_and_moves_eps_along():
    grid = make_grid("uniform", FLOW, 4, t_max=0.8)
    loose = dataclasses.replace(clipped(1.0), moves_eps=False)
    (first, *_, last), (other, *_, end) = (
        run(
            lambda xt, t, _: 3 * xt,
            "euler",
            grid,
            normal(0, 64, 4),
            bound=bound,
            keep=True,
        )
        for bound in (clipped(1.0), loose)
    )
    assert np.abs(last).max() <= 1 and np.abs(end).max() <= 1
    assert np.any(np.abs(first - other) > 0.1)


@pytest.mark.parametrize("share", [-1.0, 1.0])
def test_a_learned_variance_at_its_bounds_is_the_fixed_one(share):
    process = PROCESSES["ddpm_linear"]()
    grid, start = make_grid("leading", process, 10), normal(0, 5, 4)

    def denoise(xt, t, conditioning):
        out = jnp.tanh(xt)
        return jnp.concatenate([out, jnp.full_like(out, share)], axis=-1)

    learned = run(denoise, "ddpm:variance=learned_range", grid, start)
    fixed = "ddpm:variance=fixed_" + ("small" if share < 0 else "large")
    np.testing.assert_allclose(run(denoise, fixed, grid, start), learned, atol=1e-5)


def test_a_variance_that_nobody_predicts_is_refused():
    grid = make_grid("uniform", PROCESSES["ddpm_linear"](), 3)
    with pytest.raises(UserError, match="learn_sigma"):
        run(lambda xt, *_: xt, "ddpm:variance=learned_range", grid, normal(0, 2, 1))


def test_a_sampler_that_draws_noise_is_refused_without_it():
    with pytest.raises(ValueError, match="pass some"):
        sample(
            lambda xt, *_: xt,
            SAMPLERS["ancestral"],
            inner(),
            normal(0, 2, 1),
            prediction="x0",
            conditioning=Conditioning(),
        )


@pytest.mark.parametrize("jit", [False, True])
def test_sampling_eps_from_where_no_data_is_left_is_refused(jit):
    def eps_from_1(start):
        grid = make_grid("uniform", FLOW, 4)
        return run(lambda xt, *_: xt, "euler", grid, start, "eps")

    with pytest.raises(ValueError, match="alpha is 0.*t_max"):
        (jax.jit(eps_from_1) if jit else eps_from_1)(normal(0, 1, 2))


@pytest.mark.parametrize(
    "name, message",
    [
        ("eular", "did you mean 'euler'"),
        ("ddim:etta=1", "did you mean 'eta'"),
        ("ddim:eta=high", "eta of sample.sampler ddim is 'high'; give a number"),
        ("dpmpp_2m:order=4", "choose 1, 2 or 3"),
        ("dpmpp_2m:sde=yes", "give True or False"),
        ("unipc:variant=bh3", "did you mean 'bh"),
        ("sde_euler:diffusion=sigmma", "did you mean 'sigma'"),
        ("midpoint", "even number of steps"),
        ("edm", "no step from t = 1"),
        ("sde_dpm_2m", "leaves noise"),
    ],
)
def test_a_sampler_that_cannot_be_is_one_sentence(name, message):
    grid = make_grid("uniform", FLOW, 5)
    with pytest.raises(UserError, match=message):
        choose_sampler(name, FLOW)(grid)


def test_an_option_is_the_same_as_its_argument():
    grid = make_grid("uniform", PROCESSES["ddpm_linear"](), 5)
    found = choose_sampler("ddpm:variance=fixed_large", FLOW)(grid)
    np.testing.assert_array_equal(found.of_noise, ddpm(grid, "fixed_large").of_noise)


def ends_of(name, prediction, process, grid="uniform", t_max=None, steps=8):
    points, _ = planned(
        choose_sampler(name, process),
        prediction,
        lambda t_max, t_min: make_grid(grid, process, steps, t_max=t_max, t_min=t_min),
        t_max,
        None,
    )
    return points.calls.t[0], points.ends.t[-1]


@pytest.mark.parametrize(
    ("name", "prediction", "grid", "first", "last"),
    [
        ("euler", "x0", "uniform", 1.0, 0.0),
        ("euler", "eps", "uniform", LAST_TRAINED, 0.0),  # says nothing of x0 at 1
        ("euler", "v", "karras", LAST_TRAINED, 0.0),  # sigma / alpha is infinite at 1
        ("dpm_2m", "v", "uniform", LAST_TRAINED, 0.0),  # so is log(alpha / sigma)
        ("dopri5", "velocity", "uniform", 1.0, 0.0),
        ("dopri5", "x0", "uniform", 1.0, FIRST_TRAINED),  # says nothing of eps at 0
        ("sde_dpm_2m", "v", "uniform", LAST_TRAINED, FIRST_TRAINED),
    ],
)
def test_sampling_goes_from_noise_alone_to_clean_data_or_close_to_them(
    name, prediction, grid, first, last
):
    assert ends_of(name, prediction, FLOW, grid) == pytest.approx((first, last))
    started = ends_of(name, prediction, FLOW, grid, t_max=0.9)[0]
    assert started == pytest.approx(0.9)
    if first < 1:
        with pytest.raises(NoAnswer, match="t_max"):
            ends_of(name, prediction, FLOW, grid, t_max=1.0)


def test_what_no_start_would_mend_is_said_of_the_whole_way():
    with pytest.raises(UserError, match="steps of a discrete process"):
        ends_of("euler", "x0", FLOW, "trailing")
    with pytest.raises(UserError, match="even number of steps"):
        ends_of("midpoint", "x0", FLOW, steps=7)
    with pytest.raises(UserError, match="rho of the grid karras is -1"):
        ends_of("euler", "x0", FLOW, "karras:rho=-1")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ddim:eta=-1", "eta is -1.0; choose 0 to 1"),
        ("ddim:eta=nan", "eta of sample.sampler ddim is 'nan'; give a number"),
        ("ddim:eta=0.1,eta=0.2", "eta of sample.sampler ddim is given twice"),
        ("sde_euler:norm=-1", "norm of the diffusion is -1"),
        ("dpm_2m:believes=x0", "an option of sample.sampler dpm_2m is 'believes'"),
        ("dopri5:method=tsit5", "an option of sample.sampler dopri5 is 'method'"),
    ],
)
def test_an_option_that_cannot_be_is_named(name, message):
    with pytest.raises(UserError, match=message):
        ends_of(name, "x0", FLOW)
