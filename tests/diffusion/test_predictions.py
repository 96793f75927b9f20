from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax.diffusion.predictions import PREDICTIONS, convert, target
from dit_jax.diffusion.processes import (
    PROCESSES,
    Process,
    RectifiedFlow,
    VariancePreserving,
)

every_process = pytest.mark.parametrize(
    "process", [make() for make in PROCESSES.values()], ids=list(PROCESSES)
)
every_prediction = pytest.mark.parametrize("prediction", PREDICTIONS)


def well_conditioned_times(process: Process) -> jax.Array:
    t = jnp.linspace(0, 1, 1001)
    return t[(process.alpha(t) >= 0.05) & (process.sigma(t) >= 0.05)][::20]


def normal(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


def assert_close(found: jax.Array, wanted: jax.Array, tolerance: float = 1e-5) -> None:
    """Relative to the size of the values in each row: velocities of VP reach 10."""
    size = np.maximum(np.abs(wanted).max(axis=-1, keepdims=True), 1)
    np.testing.assert_allclose(found / size, wanted / size, atol=tolerance, rtol=0)


@every_process
@pytest.mark.parametrize("have, want", list(product(PREDICTIONS, repeat=2)))
def test_conversions_round_trip(process: Process, have: str, want: str):
    t = well_conditioned_times(process)
    x0, eps = normal(0, len(t), 16), normal(1, len(t), 16)
    xt = process.add_noise(x0, eps, t)
    out = target(have, process, x0, eps, t)
    there = convert(have, want, process, out, xt, t)
    assert_close(convert(want, have, process, there, xt, t), out)


@every_process
@pytest.mark.parametrize("have, want", list(product(PREDICTIONS, repeat=2)))
def test_a_perfect_prediction_converts_into_every_target(
    process: Process, have: str, want: str
):
    t = well_conditioned_times(process)
    x0, eps = normal(0, len(t), 16), normal(1, len(t), 16)
    xt = process.add_noise(x0, eps, t)
    found = convert(have, want, process, target(have, process, x0, eps, t), xt, t)
    assert_close(found, target(want, process, x0, eps, t), 3e-5)


@every_process
@every_prediction
def test_conversions_return_what_made_the_data(process: Process, prediction: str):
    x0, eps, t = normal(0, 3, 16), normal(1, 3, 16), jnp.array([0.1, 0.4, 0.6])
    xt = process.add_noise(x0, eps, t)
    out = target(prediction, process, x0, eps, t)
    assert_close(convert(prediction, "x0", process, out, xt, t), x0)
    assert_close(convert(prediction, "eps", process, out, xt, t), eps)
    _, slope = jax.jvp(
        lambda t: process.add_noise(x0, eps, t), (t,), (jnp.ones_like(t),)
    )
    assert_close(convert(prediction, "velocity", process, out, xt, t), slope)


def test_velocity_of_rectified_flow_points_from_data_to_noise():
    x0, eps, t = normal(0, 3, 4), normal(1, 3, 4), jnp.array([0.0, 0.5, 1.0])
    found = target("velocity", RectifiedFlow(), x0, eps, t)
    np.testing.assert_allclose(found, eps - x0, rtol=1e-6)


def test_v_of_vp_turns_data_into_noise_by_a_quarter():
    """v(t) is xt a quarter turn further on the circle alpha^2 + sigma^2 = 1."""
    process, t = VariancePreserving(), jnp.array([0.2, 0.5])
    x0, eps = normal(0, 2, 4), normal(1, 2, 4)
    angle = jnp.arctan2(process.sigma(t), process.alpha(t)) + jnp.pi / 2
    wanted = jnp.cos(angle)[:, None] * x0 + jnp.sin(angle)[:, None] * eps
    np.testing.assert_allclose(
        target("v", process, x0, eps, t), wanted, atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("prediction", ["x0", "eps", "v", "velocity"])
def test_x0_is_the_data_at_time_0(prediction: str):
    process, t = RectifiedFlow(), jnp.zeros(2)
    x0, eps = normal(0, 2, 4), normal(1, 2, 4)
    out = target(prediction, process, x0, eps, t)
    np.testing.assert_array_equal(convert(prediction, "x0", process, out, x0, t), x0)


@pytest.mark.parametrize("prediction", ["x0", "v", "velocity"])
def test_eps_is_the_noise_at_time_1(prediction: str):
    process, t = RectifiedFlow(), jnp.ones(2)
    x0, eps = normal(0, 2, 4), normal(1, 2, 4)
    out = target(prediction, process, x0, eps, t)
    np.testing.assert_allclose(
        convert(prediction, "eps", process, out, eps, t), eps, rtol=0, atol=1e-6
    )


@pytest.mark.parametrize(
    "process, have, want, t, name",
    [
        (RectifiedFlow(), "x0", "eps", 0.0, "sigma is 0"),
        (RectifiedFlow(), "eps", "x0", 1.0, "alpha is 0"),
        (VariancePreserving(), "x0", "velocity", 0.0, "sigma is 0"),
        (VariancePreserving(), "v", "velocity", 0.0, "dsigma/dt is infinite"),
        (VariancePreserving(), "velocity", "x0", 0.0, "infinite"),
    ],
)
def test_conversions_without_an_answer_raise(process, have, want, t, name):
    x = jnp.ones((1, 2))
    with pytest.raises(ValueError, match=f"{name}.*inside"):
        convert(have, want, process, x, x, jnp.array([t]))


@every_process
def test_low_precision_outputs_are_converted_in_float32(process: Process):
    xt, out = normal(0, 2, 4), normal(1, 2, 4).astype(jnp.bfloat16)
    t = jnp.array([0.3, 0.6])
    found = convert("v", "x0", process, out, xt, t)
    wanted = convert("v", "x0", process, out.astype(jnp.float32), xt, t)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, wanted)


def test_streams_convert_with_their_own_times():
    process = RectifiedFlow()
    out = {"a": normal(0, 2, 3, 4), "b": normal(1, 2, 5)}
    xt = {"a": normal(2, 2, 3, 4), "b": normal(3, 2, 5)}
    t = {"a": jnp.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]), "b": jnp.array([0.7, 0.8])}
    found = convert("velocity", "x0", process, out, xt, t)
    for name in out:
        alone = convert("velocity", "x0", process, out[name], xt[name], t[name])
        np.testing.assert_array_equal(found[name], alone)
    assert not np.allclose(found["a"][:, 0], found["a"][:, 1])


def test_an_unknown_prediction_names_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'velocity'"):
        target(
            "velocty", RectifiedFlow(), jnp.ones((1, 1)), jnp.ones((1, 1)), jnp.ones(1)
        )
