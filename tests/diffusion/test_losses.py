from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax.diffusion.losses import denoising_loss, example_mean
from dit_jax.diffusion.predictions import PREDICTIONS, target
from dit_jax.diffusion.processes import PROCESSES, RectifiedFlow
from dit_jax.types import Conditioning

SHAPE = (4, 2, 3, 3, 5)
T = jnp.array([0.2, 0.4, 0.6, 0.7])


def normal(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape or SHAPE)


def half_mask() -> jax.Array:
    """Another share of each example is generated; none of them nothing."""
    share = jnp.array([0.2, 0.5, 0.8, 1.0]).reshape(4, 1, 1, 1, 1)
    drawn = jax.random.uniform(jax.random.key(5), SHAPE[:-1] + (1,))
    return (drawn <= share).astype(jnp.float32)


def local_denoiser(xt, t, conditioning):
    """Sees each position alone, so a change at one shows at no other."""
    return jnp.tanh(xt) * (1 + t[:, None, None, None, None])


def loss(denoise_fn=local_denoiser, rows=slice(None), **changes):
    arguments = {
        "process": RectifiedFlow(),
        "prediction": "x0",
        "loss_in": "x0",
        "x0": normal(0)[rows],
        "eps": normal(1)[rows],
        "t": T[rows],
        "conditioning": Conditioning(),
    }
    return denoising_loss(denoise_fn, **(arguments | changes))


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("prediction, loss_in", list(product(PREDICTIONS, repeat=2)))
def test_a_perfect_prediction_has_no_loss_in_any_space(name, prediction, loss_in):
    process = PROCESSES[name]()
    answer = target(prediction, process, normal(0), normal(1), T)
    arguments = {"process": process, "prediction": prediction, "loss_in": loss_in}
    perfect = loss(lambda *_: answer, **arguments)
    np.testing.assert_allclose(perfect, 0, atol=1e-9)
    assert np.all(loss(lambda *_: answer + 0.1, **arguments) > 1e-5)


@pytest.mark.parametrize("loss_in", PREDICTIONS)
def test_the_loss_is_the_mean_squared_distance_to_its_target(loss_in):
    wanted = target(loss_in, RectifiedFlow(), normal(0), normal(1), T)
    found = loss(lambda *_: normal(2), prediction=loss_in, loss_in=loss_in)
    oracle = np.square(np.float64(normal(2)) - np.float64(wanted)).reshape(4, -1)
    np.testing.assert_allclose(found, oracle.mean(axis=1), rtol=1e-5)


@pytest.mark.parametrize(
    "loss_in, weight",
    [
        ("eps", ((1 - T) / T) ** 2),
        ("velocity", 1 / T**2),
        ("v", ((1 - T) ** 2 / T + T) ** 2),
    ],
)
def test_spaces_differ_by_their_weight_alone(loss_in, weight):
    """An x0 error e is an eps error -e alpha / sigma, and so on."""
    np.testing.assert_allclose(loss(loss_in=loss_in), weight * loss(), rtol=1e-4)


def test_the_denoiser_sees_the_noised_data():
    seen = {}

    def spy(xt, t, conditioning):
        seen.update(xt=xt, t=t, label=conditioning.label)
        return xt

    loss(spy, conditioning=Conditioning(label=jnp.arange(4)))
    wanted = RectifiedFlow().add_noise(normal(0), normal(1), T)
    np.testing.assert_array_equal(seen["xt"], wanted)
    np.testing.assert_array_equal(seen["t"], T)
    np.testing.assert_array_equal(seen["label"], jnp.arange(4))


def test_the_masked_loss_does_not_depend_on_given_positions():
    mask = half_mask()
    plain = loss(conditioning=Conditioning(mask=mask))
    other = jnp.where(mask > 0, normal(0), 100.0)
    changed = loss(conditioning=Conditioning(mask=mask), x0=other)
    np.testing.assert_array_equal(plain, changed)
    assert not np.any(loss(x0=other)[:3] == loss()[:3])  # the fourth gives nothing


def test_generated_positions_have_no_part_in_each_others_weight():
    """Given positions carry no gradient; generated ones weigh 1 / their number."""
    mask = half_mask()
    bias = jnp.zeros(SHAPE)
    gradient = jax.grad(
        lambda b: loss(lambda *_: b, conditioning=Conditioning(mask=mask)).sum()
    )(bias)
    count = 5 * mask.sum(axis=(1, 2, 3, 4), keepdims=True)
    np.testing.assert_allclose(gradient, -2 * mask * normal(0) / count, rtol=1e-5)


def test_a_mask_of_ones_is_no_mask():
    ones = Conditioning(mask=jnp.ones(SHAPE[:-1] + (1,)))
    np.testing.assert_allclose(loss(conditioning=ones), loss(), rtol=1e-6)


def test_the_batch_loss_is_the_mean_over_microbatches():
    mask = half_mask()
    whole = loss(conditioning=Conditioning(mask=mask)).mean()
    halves = [
        loss(rows=rows, conditioning=Conditioning(mask=mask[rows])).mean()
        for rows in (slice(0, 2), slice(2, 4))
    ]
    np.testing.assert_allclose(sum(halves) / 2, whole, rtol=1e-6)


def test_an_example_without_generated_positions_costs_nothing():
    mask = half_mask().at[0].set(0)
    found = loss(conditioning=Conditioning(mask=mask))
    assert found[0] == 0
    assert np.all(found[1:] > 0)


def test_streams_are_averaged_over_all_their_elements():
    values = {"video": normal(0, 2, 3, 4), "text": normal(1, 2, 5)}
    flat = np.concatenate([np.reshape(v, (2, -1)) for v in values.values()], axis=1)
    np.testing.assert_allclose(example_mean(values, None), flat.mean(axis=1), rtol=1e-5)


def test_times_may_differ_by_frame():
    t = jnp.stack([T, T / 2], axis=1)
    denoise = lambda xt, t, _: xt * t[..., None, None, None]  # noqa: E731
    both = loss(denoise, t=t)
    frames = [
        loss(
            lambda xt, t, _: xt * t[:, None, None, None, None],
            t=t[:, i],
            x0=normal(0)[:, i : i + 1],
            eps=normal(1)[:, i : i + 1],
        )
        for i in range(2)
    ]
    np.testing.assert_allclose(both, sum(frames) / 2, rtol=1e-5)


def test_bfloat16_outputs_give_a_float32_loss():
    assert loss(lambda xt, *_: xt.astype(jnp.bfloat16)).dtype == jnp.float32
