import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dit_jax.models import embeddings
from dit_jax.types import Conditioning

T = jnp.array([0.25, 1.0])
NOTHING = Conditioning()


def waves(steps, dims=256):
    angles = np.asarray(steps)[..., None] * 1e4 ** (-np.arange(dims // 2) / (dims // 2))
    return jnp.float32(np.concatenate([np.cos(angles), np.sin(angles)], -1))


def test_time_features_are_cosines_then_sines_of_falling_frequencies():
    features = embeddings.time_features(jnp.array([3.0, 700.0]), 6)
    np.testing.assert_allclose(features, waves([3.0, 700.0], 6), atol=1e-4)


@pytest.mark.parametrize(
    ("scale", "steps"),
    [
        ("continuous", [250.0, 1000.0]),
        ("steps", [250.0, 999.0]),
        ("to_data", [0.75, 0.0]),
        ("as_given", [0.25, 1.0]),
    ],
)
def test_a_time_is_scaled_as_its_design_wants_and_then_embedded(scale, steps):
    embed = embeddings.TimeEmbedding(
        8, scale=embeddings.TIME_SCALES[scale], rngs=nnx.Rngs(0)
    )
    expected = embed.out(jax.nn.silu(embed.hidden(waves(steps))))
    np.testing.assert_allclose(embed(T, NOTHING)[:, 0], expected, atol=1e-6)


def test_times_of_frames_are_embedded_frame_by_frame():
    embed = embeddings.TimeEmbedding(
        8, scale=embeddings.TIME_SCALES["continuous"], rngs=nnx.Rngs(0)
    )
    frames = jnp.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
    alone = [embed(frames[:, i], NOTHING) for i in range(3)]
    np.testing.assert_allclose(
        embed(frames, NOTHING), jnp.concatenate(alone, 1), atol=1e-6
    )


def labels(num_classes=4, scale=1.0):
    return embeddings.LabelEmbedding(num_classes, 8, scale=scale, rngs=nnx.Rngs(0))


def test_no_label_is_the_null_label_of_every_row():
    null = labels()(T, Conditioning(label=jnp.array([4, 4])))
    np.testing.assert_array_equal(labels()(T, NOTHING), null)


def test_a_label_that_the_table_does_not_have_is_nan_not_another_class():
    assert np.isnan(labels()(T, Conditioning(label=jnp.array([5, 5])))).all()


@pytest.mark.parametrize("scale", [0.02, 1.0])
def test_the_label_table_starts_at_the_scale_asked_for(scale):
    table = labels(4000, scale).table[...]
    np.testing.assert_allclose(np.std(table), scale, rtol=0.05)


def test_where_there_is_no_text_the_pooled_text_is_a_learned_vector():
    part = embeddings.PooledText(6, 8, rngs=nnx.Rngs(0))
    pooled = jax.random.normal(jax.random.key(0), (2, 6))
    mask = jnp.array([[1, 0], [0, 0]], jnp.int32)
    out = part(T, Conditioning(pooled=pooled, text_mask=mask))
    null = part(T, NOTHING)
    np.testing.assert_array_equal(out[1], null[1])
    assert np.abs(out[0] - null[0]).max() > 0.1


def test_text_tokens_come_with_the_mask_of_what_is_there():
    part = embeddings.TextTokens(6, 3, 8, dtype=jnp.float32, rngs=nnx.Rngs(0))
    text = jax.random.normal(jax.random.key(0), (2, 3, 6))
    mask = jnp.array([[1, 1, 0], [0, 0, 0]], jnp.int32)
    tokens, there = part(T, Conditioning(text=text, text_mask=mask))
    np.testing.assert_allclose(tokens, text @ part.project.kernel[...], atol=1e-5)
    np.testing.assert_array_equal(there, mask != 0)
    assert not part(T, NOTHING)[1].any()
