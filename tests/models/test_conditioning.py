from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dit_jax.models import embeddings
from dit_jax.models.conditioning import (
    AdaLN,
    AdaLNSingle,
    AsContext,
    AsTokens,
    Conditioner,
)
from dit_jax.types import Conditioning, keep_placement

T = jnp.array([0.25, 1.0])
SHAPE = {"width": 8, "depth": 3}
ADALN = partial(AdaLN, **SHAPE, parts=6, constrain=keep_placement)
SINGLE = partial(AdaLNSingle, **SHAPE, parts=6, constrain=keep_placement)
VECTORS = {
    "label": partial(embeddings.LabelEmbedding, 4, 8, scale=1.0),
    "time": partial(
        embeddings.TimeEmbedding, 8, scale=embeddings.TIME_SCALES["continuous"]
    ),
}
TEXT = partial(embeddings.TextTokens, 6, 5, 8, dtype=jnp.float32)
LABELS = Conditioning(label=jnp.array([1, 2]))


def part(delivery=ADALN, **sequences):
    return Conditioner(VECTORS, delivery, sequences, rngs=nnx.Rngs(0))


def awake(conditioner):
    """Projections off zero."""
    delivery = conditioner.delivery
    delivery.kernel[...] = jax.random.normal(jax.random.key(0), delivery.kernel.shape)
    delivery.head.kernel[...] = jax.random.normal(jax.random.key(1), (8, 16))
    return conditioner


def test_modulations_are_zero_at_init_for_any_time_and_label():
    out = part()(T, LABELS)
    assert not out.layers.any() and not out.head.any()


def test_the_hoisted_projection_equals_one_projection_per_layer():
    adaln = awake(part())
    out = adaln(T, LABELS).layers
    signal = jax.nn.silu(adaln.time(T, LABELS) + adaln.label(T, LABELS))[:, 0]
    for layer in range(3):
        kernel, bias = adaln.delivery.kernel[layer], adaln.delivery.bias[layer]
        alone = signal @ kernel + bias[None]
        np.testing.assert_allclose(out[layer].reshape(2, -1), alone, atol=1e-5)


def test_layers_that_share_one_projection_differ_by_their_table():
    single = part(SINGLE)
    out, table = single(T, LABELS).layers, single.delivery.table[...]
    difference = (table[2] - table[0]).reshape(6, 8)
    both = jnp.stack([difference, difference])[:, None]
    np.testing.assert_allclose(out[2] - out[0], both, atol=1e-5)
    np.testing.assert_allclose(table.std(), 8**-0.5, rtol=0.2)


def test_a_row_of_the_label_table_moves_exactly_the_examples_of_that_label():
    adaln = awake(part())
    before = adaln(T, LABELS).layers
    adaln.label.table[...] = adaln.label.table.at[2].add(1.0)
    after = adaln(T, LABELS).layers
    np.testing.assert_array_equal(after[:, 0], before[:, 0])
    assert np.abs(after[:, 1] - before[:, 1]).max() > 0.1


def test_times_of_frames_give_every_frame_the_modulations_of_its_time():
    adaln = awake(part())
    frames = jnp.stack([T, 1 - T], axis=1)
    out = adaln(frames, LABELS)
    for i in range(2):
        alone = adaln(frames[:, i], LABELS)
        np.testing.assert_allclose(
            out.layers[:, :, i], alone.layers[:, :, 0], atol=1e-5
        )
        np.testing.assert_allclose(out.head[:, i], alone.head[:, 0], atol=1e-5)


@pytest.mark.parametrize(
    ("way", "field"), [(AsTokens, "tokens"), (AsContext, "context")]
)
def test_vectors_become_a_sequence_without_modulations(way, field):
    conditioner = part(partial(way, **SHAPE))
    out = conditioner(T, LABELS)
    vectors = [conditioner.label(T, LABELS), conditioner.time(T, LABELS)]
    np.testing.assert_array_equal(getattr(out, field), jnp.concatenate(vectors, 1))
    assert out.layers.shape == (3, 2, 1, 0, 8) and out.head is None


@pytest.mark.parametrize(
    ("way", "field"), [(AsTokens, "tokens"), (AsContext, "context")]
)
def test_text_follows_the_vectors_and_the_mask_says_what_is_there(way, field):
    conditioner = part(partial(way, **SHAPE), text=(TEXT, field))
    mask = jnp.array([[1, 0, 0, 0, 0], [1, 1, 1, 1, 1]], jnp.int32)
    text = jax.random.normal(jax.random.key(0), (2, 5, 6))
    told = Conditioning(label=LABELS.label, text=text, text_mask=mask)
    out = conditioner(T, told)
    tokens, _ = conditioner.text(T, told)
    np.testing.assert_array_equal(getattr(out, field)[:, 2:], tokens)
    there = np.asarray(getattr(out, f"{field}_mask"))
    assert there[:, :2].all() and (there[:, 2:] == (mask != 0)).all()


def test_two_sequences_of_one_kind_stand_one_after_the_other():
    other = partial(embeddings.TextTokens, 6, 5, 8, dtype=jnp.float32)
    conditioner = part(text=(TEXT, "context"), more=(other, "context"))
    text = jax.random.normal(jax.random.key(0), (2, 5, 6))
    out = conditioner(T, Conditioning(label=LABELS.label, text=text))
    both = [conditioner.text.project(text), conditioner.more.project(text)]
    np.testing.assert_array_equal(out.context, jnp.concatenate(both, axis=1))
    assert out.context_mask.all() and out.context_mask.shape == (2, 10)


@pytest.mark.parametrize("field", ["mask", "text", "text_mask", "pooled", "frames"])
def test_what_it_has_no_part_for_is_refused_by_name(field):
    shapes = {
        "mask": (2, 1, 1, 1, 1),
        "frames": (2, 1, 1, 1, 1),
        "text": (2, 3, 4),
        "pooled": (2, 4),
    }
    value = jnp.ones(shapes.get(field, (2, 3)), jnp.float32)
    value = value.astype(jnp.int32) if field == "text_mask" else value
    with pytest.raises(ValueError, match=f"conditioning.{field} .* model.preset"):
        part()(T, Conditioning(**{field: value}))
