import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax.diffusion.guidance import classifier_free, unconditional
from dit_jax.diffusion.predictions import PREDICTIONS, convert
from dit_jax.diffusion.processes import RectifiedFlow
from dit_jax.diffusion.samplers import SAMPLERS, sample, time_grid
from dit_jax.types import Conditioning

NULL = 3
LABELS = Conditioning(label=jnp.array([0, 2, 1, 1]))
T = jnp.array([0.2, 0.4, 0.6, 0.8])


def normal(seed: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), (4, 2, 5))


def denoise(xt, t, conditioning):
    """Every row by itself, and nonlinear in all that it is told."""
    offset = (conditioning.label[:, None, None] + 1) * t[:, None, None]
    return jnp.sin(offset) * xt + offset


def of_null(xt, t):
    return denoise(xt, t, Conditioning(label=jnp.full(4, NULL)))


@pytest.mark.parametrize("guidance", [0.0, 0.5, 1.5, 4.0])
@pytest.mark.parametrize("kind", [float, jnp.float32])
def test_guidance_extrapolates_from_unconditional(guidance, kind):
    guided = classifier_free(denoise, unconditional(NULL), kind(guidance))
    cond, uncond = denoise(normal(0), T, LABELS), of_null(normal(0), T)
    wanted = uncond + guidance * (cond - uncond)
    np.testing.assert_allclose(guided(normal(0), T, LABELS), wanted, rtol=1e-5)


def test_guidance_0_is_unconditional():
    guided = classifier_free(denoise, unconditional(NULL), 0.0)
    np.testing.assert_array_equal(guided(normal(0), T, LABELS), of_null(normal(0), T))


@pytest.mark.parametrize("name", SAMPLERS)
def test_guidance_1_samples_as_without_guidance_bit_for_bit(name):
    def run(denoise_fn):
        return sample(
            denoise_fn,
            SAMPLERS[name],
            time_grid(5),
            normal(1),
            process=RectifiedFlow(),
            prediction="velocity",
            conditioning=LABELS,
            fresh_noise=normal,
        )

    one = run(classifier_free(denoise, unconditional(NULL), 1.0))
    np.testing.assert_array_equal(one, run(denoise))
    two = run(classifier_free(denoise, unconditional(NULL), 2.0))
    assert not np.allclose(one, two)


def test_both_branches_are_one_call():
    rows = []

    def counted(xt, t, conditioning):
        rows.append(len(xt))
        return denoise(xt, t, conditioning)

    classifier_free(counted, unconditional(NULL), 2.0)(normal(0), T, LABELS)
    assert rows == [8]


def test_a_pair_stays_together():
    """Row i of the batch is rows 2i and 2i + 1, so that shards keep their rows."""
    seen = {}

    def spy(xt, t, conditioning):
        seen.update(t=t, label=conditioning.label)
        return xt

    classifier_free(spy, unconditional(NULL), 2.0)(normal(0), T, LABELS)
    np.testing.assert_array_equal(seen["t"], np.repeat(T, 2))
    np.testing.assert_array_equal(seen["label"], [0, 3, 2, 3, 1, 3, 1, 3])


@pytest.mark.parametrize("want", PREDICTIONS)
def test_guiding_any_prediction_is_guiding_all(want):
    process, xt = RectifiedFlow(), normal(0)

    def converted(xt, t, conditioning):
        return convert("v", want, process, denoise(xt, t, conditioning), xt, t)

    guided = classifier_free(denoise, unconditional(NULL), 2.5)(xt, T, LABELS)
    found = classifier_free(converted, unconditional(NULL), 2.5)(xt, T, LABELS)
    wanted = convert("v", want, process, guided, xt, T)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_label_and_text_are_dropped_and_nothing_else():
    fps, text_mask = jnp.array([8.0, 24.0]), jnp.ones((2, 5), jnp.int32)
    full = Conditioning(label=jnp.arange(2), text_mask=text_mask, fps=fps)
    dropped = unconditional(NULL)(full)
    np.testing.assert_array_equal(dropped.label, [NULL, NULL])
    np.testing.assert_array_equal(dropped.text_mask, 0 * text_mask)
    np.testing.assert_array_equal(dropped.fps, fps)
    only_text = unconditional(NULL)(Conditioning(text_mask=text_mask))
    assert only_text.label is None and not only_text.text_mask.any()


def test_every_stream_is_guided():
    def streams(xt, t, conditioning):
        return {name: denoise(x, t[name], conditioning) for name, x in xt.items()}

    xt, t = {"a": normal(0), "b": normal(1)}, {"a": T, "b": T / 2}
    found = classifier_free(streams, unconditional(NULL), 3.0)(xt, t, LABELS)
    alone = classifier_free(denoise, unconditional(NULL), 3.0)
    for name in xt:
        np.testing.assert_array_equal(found[name], alone(xt[name], t[name], LABELS))


def test_guidance_of_nothing_told_says_what_to_do():
    guided = classifier_free(denoise, unconditional(NULL), 2.0)
    with pytest.raises(ValueError, match="pass some .* or set guidance to 1.0"):
        guided(normal(0), T, Conditioning())
