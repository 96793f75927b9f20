"""Clean first frames, told in each of the three ways."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax import models

WAYS = ("concat", "cross_attention", "pooled")


def frames_of(count):
    return jax.random.normal(jax.random.key(7), (2, count, 4, 6, 3))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mixing", ["joint", "vdt"])
def test_any_number_of_given_frames_changes_what_is_generated(
    small, inputs, way, mixing
):
    graphdef, params = small(frames=way, mixing=mixing)
    x, t, told = inputs
    outs = [models.apply(graphdef, params, x, t, told)]
    for count in (1, 3):
        with_frames = dataclasses.replace(told, frames=frames_of(count))
        outs.append(models.apply(graphdef, params, x, t, with_frames))
    for out in outs:
        assert out.shape == x.shape
    assert np.abs(outs[1] - outs[0]).max() > 1e-3
    assert np.abs(outs[2] - outs[1]).max() > 1e-3


@pytest.mark.parametrize("way", WAYS)
def test_given_frames_of_one_clip_do_not_reach_another(small, inputs, way):
    graphdef, params = small(frames=way)
    x, t, told = inputs
    frames = frames_of(2)
    outs = [
        models.apply(graphdef, params, x, t, dataclasses.replace(told, frames=given))
        for given in (frames, frames.at[1].add(1.0))
    ]
    np.testing.assert_array_equal(outs[0][0], outs[1][0])
    assert np.abs(outs[0][1] - outs[1][1]).max() > 1e-3


def test_concatenation_is_the_whole_clip_with_the_first_frames_replaced(small, inputs):
    """A model of the longer clip, read at its last frames."""
    x, t, told = inputs
    frames = frames_of(2)
    graphdef, params = small(frames="concat")
    plain, _ = small()
    given = dataclasses.replace(told, frames=frames)
    out = models.apply(graphdef, params, x, t, given)
    whole = models.apply(plain, params, jnp.concatenate([frames, x], axis=1), t, told)
    np.testing.assert_allclose(out, whole[:, 2:], atol=1e-6)


def test_where_frames_have_times_those_given_are_at_zero(small, inputs):
    x, t, told = inputs
    frames = frames_of(2)
    graphdef, params = small(frames="concat")
    plain, _ = small()
    times = jnp.stack([t, 1 - t], axis=1)
    given = dataclasses.replace(told, frames=frames)
    out = models.apply(graphdef, params, x, times, given)
    both = jnp.concatenate([jnp.zeros((2, 2)), times], axis=1)
    whole = jnp.concatenate([frames, x], axis=1)
    wanted = models.apply(plain, params, whole, both, told)[:, 2:]
    np.testing.assert_allclose(out, wanted, atol=1e-6)


def test_the_context_knows_where_a_given_patch_was(small, inputs):
    """Equal patches in another order are another context."""
    graphdef, params = small(frames="cross_attention")
    x, t, told = inputs
    frames = frames_of(2)
    outs = [
        models.apply(graphdef, params, x, t, dataclasses.replace(told, frames=given))
        for given in (frames, frames[:, ::-1], jnp.roll(frames, 2, axis=3))
    ]
    assert np.abs(outs[1] - outs[0]).max() > 1e-3
    assert np.abs(outs[2] - outs[0]).max() > 1e-3


def test_a_model_without_a_part_for_them_refuses_frames(small, inputs):
    graphdef, params = small()
    x, t, told = inputs
    given = dataclasses.replace(told, frames=frames_of(1))
    with pytest.raises(ValueError, match=r"conditioning.frames .* model.frames"):
        models.apply(graphdef, params, x, t, given)
