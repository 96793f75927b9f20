"""Texts are heard; no text is no text however it is said; mistakes are told."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax import rng
from dit_jax.diffusion.guidance import classifier_free, unconditional
from dit_jax.errors import DataError, UserError
from dit_jax.inference import generate, texts
from dit_jax.text import Text
from dit_jax.text.minilm import MiniLM

LENGTH = 6
KINDS = ("cross_attention", "tokens", "pooled")
NO_CLASS = [3, 3, 3]


@pytest.fixture(scope="module")
def spec():
    return MiniLM(length=LENGTH).spec


@pytest.fixture(scope="module", params=KINDS)
def run(request, make_run, spec):
    built = make_run(
        model__text=request.param,
        model__text_length=str(LENGTH),
        model__text_dims=str(spec.dims),
    )
    return dataclasses.replace(built, text_encoder=spec.to_json())


def predict(run, text: Text | None, guidance: float = 1.0) -> np.ndarray:
    """One prediction for three clips; what they are told is all that differs."""
    told = generate.told(run, np.array(NO_CLASS), text)
    xt = rng.normal_rows(rng.stream(0, "xt", 0), jnp.arange(3), run.latent_shape)
    denoise = run.denoiser.bind(run.params)
    denoise = classifier_free(denoise, unconditional(len(run.classes)), guidance)
    return np.asarray(jax.jit(denoise)(xt, jnp.full(3, 0.5), told))


def test_a_text_changes_its_clip_and_no_other(run):
    told = texts.encode(["a dog", "rain", ""], run)
    other = texts.encode(["a dog", "a red car", ""], run)
    one, two = predict(run, told), predict(run, other)
    np.testing.assert_array_equal(one[[0, 2]], two[[0, 2]])
    assert np.abs(one[1] - two[1]).max() > 1e-3


def test_no_text_is_a_mask_of_zeros_whatever_stands_under_it(run):
    told = texts.encode(["a dog", "rain", "snow"], run)
    hidden = Text(told.tokens, 0 * told.mask, told.pooled)
    expected = predict(run, None)
    for text in (hidden, texts.encode(["", "", ""], run)):
        np.testing.assert_allclose(predict(run, text), expected, atol=1e-6)
    assert np.abs(predict(run, told) - expected).max() > 1e-3


def test_guidance_pushes_away_from_no_text(run):
    told = texts.encode(["a dog", "rain", ""], run)
    cond, uncond = predict(run, told), predict(run, None)
    wanted = uncond + 4 * (cond - uncond)
    np.testing.assert_allclose(predict(run, told, 4.0), wanted, atol=1e-4)
    assert np.abs(wanted[:2] - cond[:2]).max() > 1e-3


def test_every_clip_is_told_its_own_text_whatever_the_batch(make_run, videos, spec):
    run = dataclasses.replace(
        make_run(
            model__text="pooled",
            model__text_length=str(LENGTH),
            model__text_dims=str(spec.dims),
        ),
        text_encoder=spec.to_json(),
    )
    told = texts.encode(["a dog", "rain", ""], run)
    expected = videos(run, NO_CLASS, text=told)
    found = videos(run, NO_CLASS, text=told, batch_size=2)
    assert np.abs(found - expected).max() <= 1
    swapped = Text(*(part[[1, 0, 2]] for part in (told.tokens, told.mask, told.pooled)))
    assert np.any(videos(run, NO_CLASS, text=swapped) != expected)


def test_texts_take_turns_and_are_encoded_as_the_encoder_does(run):
    wanted = texts.take_turns(["a  dog\n", "", "rain"], run, 5)
    assert wanted == ["a dog", "", "rain", "a dog", ""]
    found = texts.encode(wanted, run)
    expected = MiniLM(length=LENGTH).encode(["a dog", "rain"])
    np.testing.assert_allclose(found.pooled[[0, 2]], expected.pooled, atol=1e-5)
    np.testing.assert_array_equal(found.pooled[3], found.pooled[0])
    assert not found.mask[[1, 4]].any()


def test_a_model_that_reads_text_wants_some(run):
    with pytest.raises(UserError, match="--text '' for clips without text"):
        texts.take_turns([], run, 4)


def test_a_model_that_reads_none_refuses_it(make_run):
    assert texts.take_turns([], make_run(), 4) is None
    with pytest.raises(UserError, match="reads no text"):
        texts.take_turns(["a dog"], make_run(), 4)


def test_only_the_runs_own_encoder_will_do(run):
    unknown = dataclasses.replace(run, text_encoder=None)
    with pytest.raises(UserError, match="does not say which text encoder"):
        texts.encode(["a dog"], unknown)
    other = run.text_encoder | {"vocabulary_sha256": "0" * 64}
    with pytest.raises(DataError, match="the run was trained with"):
        texts.encode(["a dog"], dataclasses.replace(run, text_encoder=other))


def test_texts_that_would_not_all_be_shown_or_are_no_text_are_refused(run):
    with pytest.raises(UserError, match="--num is 1, fewer than the 2 texts"):
        texts.take_turns(["a", "b"], run, 1)
    with pytest.raises(UserError, match="is not UTF-8"):
        texts.take_turns([b"\xff".decode(errors="surrogateescape")], run, 2)
    assert texts.take_turns(["a\tb", "ü"], run, 3) == ["a b", "ü", "a b"]
