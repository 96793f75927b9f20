from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax.diffusion.losses import denoising_loss
from dit_jax.diffusion.predictions import PREDICTIONS, Coefficients
from dit_jax.diffusion.processes import PROCESSES, RectifiedFlow, VariancePreserving
from dit_jax.diffusion.weightings import WEIGHTS, squared_ratio
from dit_jax.types import Conditioning

T = jnp.array([0.05, 0.3, 0.6, 0.9])
moving = pytest.mark.parametrize("name", [name for name in WEIGHTS if name != "none"])
every_process = pytest.mark.parametrize("process", PROCESSES)


def normal(seed: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), (4, 2, 3))


def loss(process, loss_in, weight):
    return denoising_loss(
        lambda xt, t, _: jnp.tanh(xt) * t[:, None, None],
        process,
        "v",
        loss_in=loss_in,
        weight=weight,
        x0=normal(0),
        eps=normal(1),
        t=T,
        conditioning=Conditioning(),
    )


@moving
@every_process
def test_a_weighted_loss_is_the_same_in_every_space(name, process):
    process = PROCESSES[process]()
    first, *others = (loss(process, space, WEIGHTS[name]) for space in PREDICTIONS)
    assert np.all(first > 0)
    for other in others:
        np.testing.assert_allclose(other, first, rtol=1e-3)


@pytest.mark.parametrize("loss_in", PREDICTIONS)
def test_no_weight_is_the_plain_squared_error(loss_in):
    process = RectifiedFlow()
    c = Coefficients.at(process, T)
    np.testing.assert_array_equal(WEIGHTS["none"](loss_in, c), 1)
    plain = loss(process, "x0", WEIGHTS["none"]) * squared_ratio(loss_in, c)
    found = loss(process, loss_in, WEIGHTS["none"])
    np.testing.assert_allclose(found, plain, rtol=1e-4)


SNR = np.float64(VariancePreserving().alpha(T) / VariancePreserving().sigma(T)) ** 2


@pytest.mark.parametrize(
    "name, options, space, wanted",
    [
        # the papers' own words, for variance-preserving processes
        ("min_snr", {}, "x0", np.minimum(SNR, 5)),
        ("min_snr", {"gamma": 2.0}, "eps", np.minimum(SNR, 2) / SNR),
        ("min_snr", {}, "v", np.minimum(SNR, 5) / (SNR + 1)),
        ("truncated_snr", {}, "x0", np.maximum(SNR, 1)),
        ("p2", {}, "eps", 1 / (1 + SNR)),
        ("p2", {"k": 2.0, "gamma": 0.5}, "eps", (2 + SNR) ** -0.5),
    ],
)
def test_weights_are_those_of_their_papers(name, options, space, wanted):
    c = Coefficients.at(VariancePreserving(), T)
    found = partial(WEIGHTS[name], **options)(space, c)
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


@every_process
@pytest.mark.parametrize("bias", [-3.0, 0.0, 2.0])
def test_the_sigmoid_weighs_logsnr_evenly_under_a_sigmoid(process, bias):
    process, h = PROCESSES[process](), 1e-3
    c = Coefficients.at(process, T)
    rate = -(process.logsnr(T + h) - process.logsnr(T - h)) / (2 * h)
    logsnr = process.logsnr(T)
    of_eps = rate * jax.nn.sigmoid(bias - logsnr)
    of_x0 = rate * jnp.exp(bias) * jax.nn.sigmoid(logsnr - bias)
    for space, wanted in (("eps", of_eps), ("x0", of_x0)):
        found = WEIGHTS["sigmoid"](space, c, bias=bias)
        np.testing.assert_allclose(found, wanted, rtol=0.03)


@pytest.mark.parametrize(
    "name, space", list(product(["min_snr", "p2", "sigmoid"], ["x0", "v"]))
)
def test_weights_without_division_are_finite_where_no_data_is_left(name, space):
    c = Coefficients.at(PROCESSES["trigonometric"](), jnp.ones(1))
    assert c.alpha[0] == 0
    assert np.all(np.isfinite(WEIGHTS[name](space, c)))


@pytest.mark.parametrize("name", WEIGHTS)
def test_an_unknown_space_is_named(name):
    with pytest.raises(ValueError, match="the space of the loss is 'epsilon'"):
        WEIGHTS[name]("epsilon", Coefficients.at(RectifiedFlow(), T))
