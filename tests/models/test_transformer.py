import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax import models, types
from dit_jax.models.choices import CONDITIONINGS
from dit_jax.models.mixings import MIXINGS


def test_the_output_is_zero_at_init_and_not_after_a_step_away(small, inputs):
    assert not models.apply(*small(fresh=True), *inputs).any()
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


@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (2, 2, 4, 6)])
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


def test_equal_times_of_all_frames_are_the_time_of_the_clip(small, inputs):
    graphdef, params = small()
    x, t, told = inputs
    frames = jnp.stack([t, t], axis=1)
    ours = models.apply(graphdef, params, x, frames, told)
    np.testing.assert_allclose(
        ours, models.apply(graphdef, params, x, t, told), atol=1e-5
    )
    other = models.apply(graphdef, params, x, frames.at[:, 1].set(0.9), told)
    assert np.abs(other - ours).max() > 1e-2


def test_times_of_frames_are_refused_where_a_patch_spans_frames(small, inputs):
    x, t, told = inputs
    with pytest.raises(ValueError, match=r"t has shape \(2, 2\).* change model.patch"):
        models.apply(*small(patch=(2, 2, 2)), x, jnp.stack([t, t], 1), told)


PAIRS = [
    (how, mixing)
    for how, mixing in itertools.product(CONDITIONINGS, MIXINGS)
    if not CONDITIONINGS[how].extra or MIXINGS[mixing].takes_extra
]


@pytest.mark.parametrize(("how", "mixing"), PAIRS)
def test_every_conditioning_goes_with_every_mixing(small, inputs, how, mixing):
    """One override each; the label and the whole video reach the output."""
    graphdef, params = small(conditioning=how, mixing=mixing, window=(1, 1, 2))
    x, t, told = inputs
    out = models.apply(graphdef, params, x, t, told)
    other = types.Conditioning(label=jnp.array([0, 1], jnp.int32))
    moved = np.abs(models.apply(graphdef, params, x, t, other) - out)
    assert not moved[0].any() and moved[1].max() > 1e-5


@pytest.mark.parametrize("mixing", [m for m in MIXINGS if m != "spatial"])
def test_within_a_few_blocks_every_frame_sees_every_other(small, inputs, mixing):
    graphdef, params = small(mixing=mixing, depth=4, window=(1, 2, 2))
    x, t, told = inputs
    out = models.apply(graphdef, params, x, t, told)
    moved = models.apply(graphdef, params, x.at[0, 1, 0, 0].add(5.0), t, told) - out
    assert np.abs(moved[0, 0]).max() > 1e-5


def test_windows_go_on_from_the_parameters_of_joint_attention(small, inputs):
    """Windows as large as the clip are joint attention, weights and all."""
    _, params = small(depth=4)
    joint, _ = small(depth=4)
    windows, _ = small(depth=4, mixing="windows", window=(9, 9, 9))
    ours = models.apply(windows, params, *inputs)
    expected = models.apply(joint, params, *inputs)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


TEXT = jax.random.normal(jax.random.key(5), (2, 5, 7))
POOLED = jax.random.normal(jax.random.key(6), (2, 7))


@pytest.mark.parametrize("text", ["tokens", "cross_attention", "pooled"])
def test_text_enters_where_it_is_and_only_what_its_mask_shows(small, inputs, text):
    graphdef, params = small(text=text, text_dims=7, text_length=5)
    x, t, told = inputs

    def run(words, pooled, mask):
        given = {"text": words, "text_mask": mask}
        if text == "pooled":
            given = {"pooled": pooled, "text_mask": mask}
        full = dataclasses.replace(told, **given)
        return models.apply(graphdef, params, x, t, full)

    mask = jnp.array([[1, 1, 0, 0, 0], [0, 0, 0, 0, 0]], jnp.int32)
    out = run(TEXT, POOLED, mask)
    hidden = run(TEXT.at[:, 2:].add(9.0), POOLED.at[1].add(9.0), mask)
    np.testing.assert_array_equal(hidden, out)
    shown = run(TEXT.at[0, 0].add(3.0), POOLED.at[0].add(3.0), mask)
    assert np.abs(shown - out)[0].max() > 1e-4
    none = models.apply(graphdef, params, x, t, told)
    np.testing.assert_allclose(none[1], out[1], atol=1e-5)
