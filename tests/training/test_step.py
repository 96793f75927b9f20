"""The same training on every mesh, and the parts of one step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax.training.ema import ema_update
from dit_jax.training.step import bucket_sums

MESHES = {
    "fsdp 8": {"fsdp": 8},
    "data 2 x fsdp 2 x tensor 2": {"data": 2, "fsdp": 2, "tensor": 2},
    "data 2 x fsdp 2 x context 2": {"data": 2, "fsdp": 2, "context": 2},
    "fsdp 2 x tensor 2 x context 2": {"fsdp": 2, "tensor": 2, "context": 2},
}


@pytest.fixture(scope="module")
def losses_on_one_device(make_training):
    return make_training({}).losses(20)


@pytest.mark.parametrize("sizes", MESHES.values(), ids=MESHES)
def test_loss_over_20_steps_is_equal_on_every_mesh(
    make_training, losses_on_one_device, sizes
):
    losses = make_training(sizes).losses(20)
    np.testing.assert_allclose(losses, losses_on_one_device, rtol=1e-5)
    assert np.ptp(losses_on_one_device) > 1e-3  # it moves, so equality says something


@pytest.mark.parametrize("sizes", MESHES.values(), ids=MESHES)
def test_noise_times_and_labels_are_identical_on_every_mesh(make_training, sizes):
    def draws(training):
        draw = jax.jit(
            lambda batch: training.run.objective.train_draws(batch, 3, jnp.int32(7))
        )
        return jax.device_get(draw(training.batch(0)))

    here, there = draws(make_training({})), draws(make_training(sizes))
    for a, b in zip(jax.tree.leaves(here), jax.tree.leaves(there), strict=True):
        np.testing.assert_array_equal(a, b)


def test_another_seed_draws_other_noise(make_training):
    training = make_training({})
    draw = training.run.objective.train_draws
    a, b = (draw(training.batch(0), seed, jnp.int32(0)) for seed in (0, 1))
    assert not np.any(np.asarray(a.eps) == np.asarray(b.eps))
    assert not np.any(np.asarray(a.t) == np.asarray(b.t))


def test_microbatches_give_the_step_of_one_batch(make_training):
    whole = make_training({"fsdp": 2}).losses(6)
    parts = make_training({"fsdp": 2}, train__microbatches="4").losses(6)
    np.testing.assert_allclose(parts, whole, rtol=1e-6)


def test_label_dropout_replaces_about_its_share_of_labels(make_training):
    training = make_training({}, train__label_dropout="0.3")
    batch = training.batch(0)
    null = [
        training.run.objective.train_draws(batch, 0, jnp.int32(step)).conditioning.label
        == training.run.objective.num_classes
        for step in range(60)
    ]
    assert 0.25 < float(np.mean(null)) < 0.35


def test_ema_is_the_debiased_exponential_average():
    values = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    ema = jnp.zeros(4)
    for step, value in enumerate(values, start=1):
        ema = ema_update(ema, jnp.asarray(value), 0.9, jnp.int32(step))
    weights = 0.9 ** np.arange(29, -1, -1)
    expected = weights @ values / weights.sum()
    np.testing.assert_allclose(ema, expected, rtol=1e-5)


def test_bucket_sums_split_the_loss_by_time():
    losses, t = jnp.array([1.0, 2.0, 4.0, 8.0]), jnp.array([0.1, 0.9, 0.95, 0.3])
    sums = bucket_sums(losses, t, 4)
    np.testing.assert_allclose(sums, [[1, 1], [8, 1], [0, 0], [6, 2]])


def test_state_is_sharded_with_its_parameters(make_training):
    state = make_training({"fsdp": 8}).run.abstract_state
    kernel = state.params["stack"]["blocks"]["mlp"]["layer"]["hidden"]["kernel"]
    moments = [
        leaf.sharding.spec
        for leaf in jax.tree.leaves((state.opt_state, state.ema))
        if leaf.shape == kernel.shape
    ]
    assert len(moments) == 3  # Adam's two and the average
    assert all(spec == kernel.sharding.spec for spec in moments)
    assert kernel.sharding.shard_shape(kernel.shape)[1] == kernel.shape[1] // 8
