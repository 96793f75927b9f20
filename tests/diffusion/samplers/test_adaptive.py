"""Samplers that choose their own steps."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax.diffusion.grids import make_grid
from dit_jax.diffusion.points import Grid, of_process
from dit_jax.diffusion.processes import (
    PROCESSES,
    Discrete,
    RectifiedFlow,
    VariancePreserving,
)
from dit_jax.diffusion.samplers import sample
from dit_jax.diffusion.samplers.adaptive import SOLVERS, adaptive
from dit_jax.diffusion.samplers.steps import Belief
from dit_jax.errors import UserError
from dit_jax.types import Conditioning
from tests.diffusion.laws import (
    GAUSSIAN,
    exact_belief,
    exact_denoiser,
    gaussian_path,
    normal,
)

FLOW = RectifiedFlow()


def inner(process=FLOW, steps=4):
    return make_grid("uniform", process, steps, t_max=0.95, t_min=0.05)


def walk(way, start, **options):
    return way.run(exact_belief(GAUSSIAN), start, None, **options)


@pytest.mark.parametrize(
    ("method", "name"),
    [(method, "rectified_flow") for method in SOLVERS]
    + [("dopri5", name) for name in ("variance_preserving", "ddpm_linear")],
)
def test_every_state_is_on_the_path_of_the_ode(method, name):
    process = PROCESSES[name]()
    grid, noise = inner(process), normal(0, 16, 3)
    start = jnp.asarray(gaussian_path(process, noise, 0.95), jnp.float32)
    way = adaptive(grid, process=process, method=method, rtol=1e-5)
    states = np.asarray(walk(way, start, keep=True))
    wanted = np.stack([gaussian_path(process, noise, t) for t in grid.ends.t])
    # the steps of a discrete process are kinks, over which states are interpolated
    atol = 3e-3 if isinstance(process, Discrete) else 3e-4
    np.testing.assert_allclose(states, wanted, atol=atol)
    np.testing.assert_allclose(walk(way, start), states[-1], atol=1e-5)


def test_smaller_tolerances_come_closer():
    noise = normal(0, 16, 3)
    start = jnp.asarray(gaussian_path(FLOW, noise, 0.95), jnp.float32)
    wanted = gaussian_path(FLOW, noise, 0.05)

    def error(rtol):
        way = adaptive(inner(), process=FLOW, rtol=rtol, atol=rtol)
        return np.abs(np.asarray(walk(way, start)) - wanted).max()

    assert error(1e-5) < error(1e-1) / 10


def test_it_runs_from_data_to_noise_too():
    noise = normal(0, 16, 3)
    grid = Grid.along(of_process(FLOW, np.array([0.05, 0.5, 0.95])))
    start = jnp.asarray(gaussian_path(FLOW, noise, 0.05), jnp.float32)
    end = walk(adaptive(grid, process=FLOW, rtol=1e-5), start)
    np.testing.assert_allclose(end, gaussian_path(FLOW, noise, 0.95), atol=3e-4)


def test_it_samples_as_any_other_sampler_and_every_stream():
    start = {"video": normal(0, 8, 3), "audio": normal(1, 8, 2, 2)}
    alone = exact_denoiser(FLOW, "velocity")

    def denoise(xt, t, conditioning):
        flat = {name: x.reshape(8, -1) for name, x in xt.items()}
        out = {name: alone(x, t[name], conditioning) for name, x in flat.items()}
        return {name: out[name].reshape(xt[name].shape) for name in xt}

    found = sample(
        denoise,
        partial(adaptive, process=FLOW, rtol=1e-5),
        make_grid("uniform", FLOW, 3, t_max=0.95, t_min=0.05),
        start,
        prediction="velocity",
        conditioning=Conditioning(),
        keep=True,
    )
    assert found["audio"].shape == (3, 8, 2, 2)
    both = walk(adaptive(inner(), process=FLOW, rtol=1e-5), normal(0, 8, 3), keep=False)
    np.testing.assert_allclose(found["video"][-1], both, atol=1e-4)


def test_it_draws_nothing_and_its_ends_are_arguments_of_one_program():
    traces = []

    @jax.jit
    def run(way, start):
        traces.append(1)
        return walk(way, start)

    ways = [
        adaptive(make_grid("uniform", FLOW, 3, t_max=0.95, t_min=low), process=FLOW)
        for low in (0.05, 0.2)
    ]
    ends = [run(way, normal(0, 4, 3)) for way in ways]
    assert len(traces) == 1 and not np.allclose(*ends)
    assert not ways[0].draws


def test_what_never_arrives_is_nan():
    def estimate(xt, point):
        return Belief(xt * jnp.nan, xt)

    way = adaptive(inner(), process=FLOW)
    assert np.isnan(way.run(estimate, normal(0, 2, 3), None)).all()
    few = adaptive(inner(), process=FLOW, rtol=1e-6, max_steps=2)
    assert np.isnan(walk(few, normal(0, 2, 3))).all()


def test_an_end_where_the_process_is_infinitely_fast_is_refused():
    process = VariancePreserving()
    with pytest.raises(UserError, match="at t = 0 the process changes infinitely fast"):
        adaptive(make_grid("uniform", process, 4), process=process)


def test_a_grid_of_another_process_is_refused():
    with pytest.raises(UserError, match="at t = 0.95 the grid has alpha 0.05"):
        adaptive(inner(), process=VariancePreserving())
    discrete = PROCESSES["ddpm_linear"]()
    with pytest.raises(UserError, match="end it at a t_min above 0"):
        adaptive(make_grid("uniform", discrete, 4), process=discrete)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "dopri"}, "the adaptive method is 'dopri'.*did you mean 'dopri5'"),
        ({"rtol": 0.0}, "the tolerances are rtol 0.0"),
        ({"max_steps": 0}, "max_steps is 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        adaptive(inner(), process=FLOW, **options)


def test_a_prediction_that_says_nothing_at_an_end_is_refused():
    grid = make_grid("uniform", FLOW, 4, t_min=0.05)
    with pytest.raises(ValueError, match="alpha is 0 at an end of the process"):
        sample(
            exact_denoiser(FLOW, "eps"),
            partial(adaptive, process=FLOW),
            grid,
            normal(0, 2, 3),
            prediction="eps",
            conditioning=Conditioning(),
        )
