"""Text in training: dropped row by row, told only to models that read it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax.errors import UserError
from dit_jax.training import assembly
from dit_jax.types import Batch, Conditioning

TEXT = {
    "model__text": "cross_attention",
    "model__text_dims": "6",
    "model__text_length": "5",
    "train__text_dropout": "0.3",
    "train__label_dropout": "0.5",
}


def full_texts(training) -> Batch:
    batch = training.batch(0)
    mask = batch.text_mask.at[:].set(1)
    return dataclasses.replace(batch, text_mask=mask)


def told(training, batch, steps):
    draw = jax.jit(training.run.objective.train_draws, static_argnums=1)
    return [draw(batch, 0, jnp.int32(step)).conditioning for step in range(steps)]


def test_about_its_share_of_rows_loses_its_text_and_no_other_token(make_training):
    training = make_training({}, **TEXT)
    masks = [c.text_mask for c in told(training, full_texts(training), 60)]
    there = np.stack(masks)
    assert (there.min(-1) == there.max(-1)).all()
    assert 0.25 < 1 - there.mean() < 0.35


def test_the_coins_of_text_and_label_are_apart(make_training):
    training = make_training({}, **TEXT)
    drawn = told(training, full_texts(training), 60)
    no_text = np.stack([c.text_mask[:, 0] == 0 for c in drawn])
    no_label = np.stack([c.label == training.run.objective.num_classes for c in drawn])
    assert abs(np.corrcoef(no_text.ravel(), no_label.ravel())[0, 1]) < 0.1


def test_dropped_texts_are_the_same_on_every_mesh(make_training):
    here = make_training({}, **TEXT)
    there = make_training({"data": 2, "fsdp": 4}, **TEXT)
    one, eight = (told(t, full_texts(t), 3) for t in (here, there))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(eight), strict=True):
        np.testing.assert_array_equal(a, b)


def test_validation_drops_no_text(make_training):
    training = make_training({}, **TEXT)
    batch = full_texts(training)
    draws = training.run.objective.fixed_draws(batch, 0, jnp.arange(16), 16)
    assert draws.conditioning.text_mask.all()


@pytest.mark.parametrize("model", [{}, {"model__labels": "False"}], ids=["", "alone"])
def test_a_model_is_not_told_what_it_has_no_part_for(make_training, model):
    reader = make_training({}, **TEXT)
    training = make_training({}, **model)
    (found,) = told(training, full_texts(reader), 1)
    assert found.text is found.text_mask is found.pooled is None
    assert (found.label is None) == bool(model)


@pytest.mark.parametrize(
    ("text_shape", "message"),
    [
        (None, "reads 5 tokens of 6 dims, but the dataset has no text; prepare it"),
        ((5, 7), "the dataset has 5 of 7; set model.text_length=5 and .*text_dims=7"),
        ((4, 6), "the dataset has 4 of 6; set model.text_length=4 and .*text_dims=6"),
    ],
)
def test_a_dataset_without_the_models_text_is_refused(
    make_training, text_shape, message
):
    training = make_training({}, **TEXT)
    facts = assembly.LatentFacts((4, 8, 8, 8), 5, text_shape=text_shape)
    with pytest.raises(UserError, match=message):
        assembly.assemble(training.config, facts, training.mesh)


VARIED = {
    "model__learn_sigma": "True",
    "diffusion__process": "ddpm_linear",
    "diffusion__bound": "mse",
    "diffusion__prediction": "eps",
    "diffusion__loss": "eps",
}


def test_the_bound_is_of_what_a_config_can_train(make_training):
    def refuse(message, **values):
        with pytest.raises(UserError, match=message):
            make_training({}, **(VARIED | values))

    refuse(
        "a sum over the steps of a ddpm process", diffusion__process="rectified_flow"
    )
    refuse("set model.learn_sigma=True", model__learn_sigma="False")
    refuse("moves the variance alone", diffusion__variance="fixed_small")
    refuse(
        "has no squared errors to weigh", diffusion__bound="kl", diffusion__weight="p2"
    )
    refuse("diffusion.bound is 'vlb'", diffusion__bound="vlb")
    refuse("an option of diffusion.weight p2 is 'g'", diffusion__weight="p2:g=1")


def losses(make_training, says, **values):
    """Of a network that says `says` everywhere, on four examples."""
    keys = jax.random.split(jax.random.key(0))
    x0, eps = (jax.random.normal(key, (4, 2, 2, 2, 3)) for key in keys)

    def denoise(xt, t, conditioning):
        return jnp.full((*xt.shape[:-1], len(says) // 3 * 3), jnp.array(says))

    return make_training({}, **values).run.objective.criterion(
        denoise,
        x0=x0,
        eps=eps,
        t=jnp.array([100, 300, 600, 900]) / 999,  # steps, where there are some
        conditioning=Conditioning(),
    )


def test_every_bound_is_its_multiple(make_training):
    def of(bound):
        values = VARIED | {"diffusion__bound": bound}
        return losses(make_training, [0.3] * 6, **values)

    plain, mse, rescaled, kl, whole = map(
        of, ("none", "mse", "rescaled_mse", "kl", "rescaled_kl")
    )
    np.testing.assert_allclose(rescaled, mse, rtol=1e-6)  # 1000 steps over 1000
    np.testing.assert_allclose(mse - plain, kl, rtol=1e-3)  # at one prediction
    np.testing.assert_allclose(whole, 1000 * kl, rtol=1e-6)
    assert np.all(kl > 0)


def test_a_weight_is_named_with_its_options(make_training):
    def of(**values):
        return losses(make_training, [0.3] * 3, **values)

    plain = of(diffusion__loss="x0")
    # min(snr, gamma) in x0 is snr where gamma is never reached, and that is eps's error
    weighted = of(diffusion__loss="x0", diffusion__weight="min_snr:gamma=1e12")
    np.testing.assert_allclose(weighted, of(diffusion__loss="eps"), rtol=1e-4)
    assert np.all(np.abs(weighted - plain) > 0.1 * plain)


def test_a_loss_that_is_infinite_at_a_time_that_is_drawn_is_refused(make_training):
    zero = {"diffusion__process": "ddpm_linear", "diffusion__zero_terminal_snr": "True"}
    eps = zero | {"diffusion__prediction": "eps"}
    make_training({}, **(eps | {"diffusion__loss": "eps"}))
    for values in (
        eps | {"diffusion__loss": "x0"},
        zero | {"diffusion__weight": "likelihood"},
    ):
        with pytest.raises(UserError, match="not finite at t = 1, which is trained on"):
            make_training({}, **values)


def test_what_sample_would_refuse_is_refused_before_training(make_training):
    for values, message in (
        ({"sample__sampler": "foo"}, "sample.sampler is 'foo'"),
        ({"sample__cache": "mag:kept=7"}, "kept 7"),
        ({"sample__guidance_schedule": "cosine:power=-1"}, "power of cosine guidance"),
    ):
        with pytest.raises(UserError, match=message):
            make_training({}, **values)
