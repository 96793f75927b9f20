import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dit_jax import types
from dit_jax.models import conditioning

T = jnp.array([0.25, 1.0])


def part(**overrides):
    arguments = {"width": 8, "depth": 3, "num_classes": 4, "label_scale": 1.0}
    return conditioning.AdaLNZero(**arguments | overrides, rngs=nnx.Rngs(0))


def awake(adaln):
    """Projections off zero."""
    adaln.kernel[...] = jax.random.normal(jax.random.key(0), adaln.kernel.shape)
    adaln.head.kernel[...] = jax.random.normal(jax.random.key(1), (8, 16))
    return adaln


def test_time_features_are_cosines_then_sines_of_falling_frequencies():
    features = conditioning.time_features(jnp.array([3.0, 700.0]), 6)
    angles = np.array([[3.0], [700.0]]) * 1e4 ** (-np.arange(3) / 3)
    expected = np.concatenate([np.cos(angles), np.sin(angles)], -1)
    np.testing.assert_allclose(features, expected, atol=1e-4)


def test_a_time_in_0_1_is_embedded_as_step_0_to_1000():
    embed = conditioning.TimeEmbedding(8, rngs=nnx.Rngs(0))
    angles = np.array([[250.0], [1000.0]]) * 1e4 ** (-np.arange(128) / 128)
    waves = jnp.float32(np.concatenate([np.cos(angles), np.sin(angles)], -1))
    expected = embed.out(jax.nn.silu(embed.hidden(waves)))
    np.testing.assert_allclose(embed(T), expected, atol=1e-6)


def test_modulations_are_zero_at_init_for_any_time_and_label():
    out = part()(T, types.Conditioning(label=jnp.array([0, 3])))
    assert not out.layers.any() and not out.head.any()


def test_the_hoisted_projection_equals_one_projection_per_layer():
    adaln = awake(part())
    label = jnp.array([0, 3])
    signal = jax.nn.silu(adaln.time(T) + adaln.label(label))
    out = adaln(T, types.Conditioning(label=label)).layers
    for layer in range(3):
        alone = signal @ adaln.kernel[layer] + adaln.bias[layer][None]
        np.testing.assert_allclose(out[layer].reshape(2, -1), alone, atol=1e-5)


def test_a_row_of_the_label_table_moves_exactly_the_examples_of_that_label():
    adaln = awake(part())
    told = types.Conditioning(label=jnp.array([1, 2]))
    before = adaln(T, told).layers
    adaln.label.table[...] = adaln.label.table.at[2].add(1.0)
    after = adaln(T, told).layers
    np.testing.assert_array_equal(after[:, 0], before[:, 0])
    assert np.abs(after[:, 1] - before[:, 1]).max() > 0.1


def test_no_label_is_the_null_label_of_every_row():
    adaln = awake(part())
    null = adaln(T, types.Conditioning(label=jnp.array([4, 4])))
    np.testing.assert_array_equal(adaln(T, types.Conditioning()).layers, null.layers)


def test_a_label_that_the_table_does_not_have_is_nan_not_another_class():
    assert np.isnan(part().label(jnp.array([5]))).all()


@pytest.mark.parametrize("scale", [0.02, 1.0])
def test_the_label_table_starts_at_the_scale_asked_for(scale):
    table = part(num_classes=4000, label_scale=scale).label.table[...]
    np.testing.assert_allclose(np.std(table), scale, rtol=0.05)


@pytest.mark.parametrize("field", ["mask", "text", "text_mask", "pooled"])
def test_what_it_has_no_part_for_is_refused_by_name(field):
    shapes = {"mask": (2, 1, 1, 1, 1), "text": (2, 3, 4), "pooled": (2, 4)}
    value = jnp.ones(shapes.get(field, (2, 3)), jnp.float32)
    value = value.astype(jnp.int32) if field == "text_mask" else value
    with pytest.raises(ValueError, match=f"conditioning.{field} .* model.preset"):
        part()(T, types.Conditioning(**{field: value}))
