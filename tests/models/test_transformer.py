import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax import models, types


def test_the_output_is_zero_at_init_and_not_after_a_step_away(small, inputs):
    assert not models.apply(*small(perturbed=False), *inputs).any()
    assert np.abs(models.apply(*small(), *inputs)).mean() > 0.1


def test_the_output_depends_on_the_time(small, inputs):
    graphdef, params = small()
    x, t, told = inputs
    before = models.apply(graphdef, params, x, t, told)
    after = models.apply(graphdef, params, x, t.at[1].set(0.71), told)
    np.testing.assert_array_equal(after[0], before[0])
    assert np.abs(after[1] - before[1]).max() > 1e-3


def test_the_output_depends_on_the_label(small, inputs):
    graphdef, params = small()
    x, t, told = inputs
    other = types.Conditioning(label=jnp.array([0, 1], jnp.int32))
    before = models.apply(graphdef, params, x, t, told)
    after = models.apply(graphdef, params, x, t, other)
    np.testing.assert_array_equal(after[0], before[0])
    assert np.abs(after[1] - before[1]).max() > 1e-3


def test_every_token_sees_every_other(small, inputs):
    """One changed number in the last patch changes every patch of the output."""
    graphdef, params = small()
    x, t, told = inputs
    before = models.apply(graphdef, params, x, t, told)
    after = models.apply(graphdef, params, x.at[0, -1, -1, -1, -1].add(5.0), t, told)
    change = np.abs(after - before)[0].reshape(2, 2, 2, 3, 2, 3).max((2, 4, 5))
    assert (change > 1e-5).all()


def test_with_relative_positions_alone_a_wrapped_shift_is_seen(small, inputs):
    """Rotary positions reach the output: a rolled clip is not the rolled output."""
    graphdef, params = small(position_scale=0.0)
    x, t, told = inputs
    out = models.apply(graphdef, params, x, t, told)
    rolled = models.apply(graphdef, params, jnp.roll(x, 2, axis=3), t, told)
    assert np.abs(rolled - jnp.roll(out, 2, axis=3)).max() > 1e-2


def test_equal_patches_differ_by_their_additive_position_only(small, inputs):
    """Rotary positions cannot tell places of a constant clip apart; the table can."""
    _, t, told = inputs
    x = jnp.ones((2, 2, 4, 6, 3))

    def spread_over_places(scale):
        graphdef, params = small(position_scale=scale)
        out = models.apply(graphdef, params, x, t, told)
        first_patch = jnp.tile(out[:, :1, :2, :2], (1, 2, 2, 3, 1))
        return np.abs(out - first_patch).max()

    assert spread_over_places(0.0) < 1e-4
    assert spread_over_places(1.0) > 1e-2


def test_a_clip_of_another_size_needs_no_other_model(small, inputs):
    graphdef, params = small()
    _, t, told = inputs
    x = jax.random.normal(jax.random.key(0), (2, 3, 2, 4, 3))
    out = models.apply(graphdef, params, x, t, told)
    assert out.shape == x.shape and out.any()


def test_bfloat16_compute_keeps_float32_parameters_and_output(small, inputs):
    graphdef, params = small(dtype=jnp.bfloat16)
    out = models.apply(graphdef, params, *inputs)
    exact = models.apply(*small(), *inputs)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    assert out.dtype == jnp.float32
    error = np.sqrt(np.mean((out - exact) ** 2) / np.mean(exact**2))
    assert 1e-5 < error < 3e-2  # it did compute in bf16, and as well as bf16 can


@pytest.mark.parametrize("shape", [(), (1,), (2, 2), (2, 2, 4, 6)])
def test_a_time_of_another_shape_is_one_sentence(small, inputs, shape):
    x, _, told = inputs
    with pytest.raises(ValueError, match=r"t has shape .* one time per clip"):
        models.apply(*small(), x, jnp.ones(shape), told)


def test_a_mask_is_refused_where_no_part_takes_it(small, inputs):
    x, t, _ = inputs
    with pytest.raises(ValueError, match="conditioning.mask"):
        models.apply(*small(), x, t, types.Conditioning(mask=jnp.ones((2, 2, 4, 6, 1))))


def test_a_size_that_the_patch_does_not_divide_is_refused(small):
    with pytest.raises(ValueError, match="model.patch"):
        small(latent_shape=(2, 5, 6, 3))


def test_the_head_can_have_channels_of_its_own(small, inputs):
    out = models.apply(*small(out_channels=6), *inputs)
    assert out.shape == (2, 2, 4, 6, 6) and out.any()
