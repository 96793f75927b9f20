"""Clipping by the norm of everything, and block by block."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dit_jax.errors import UserError
from dit_jax.training.clipping import clipping

AXES = {
    "head": {"kernel": ("embed", None), "bias": (None,)},
    "stack": {
        "blocks": {"a": {"kernel": ("layers", "embed")}, "b": {"bias": ("layers",)}},
        "middle": {"a": {"kernel": ("layers", "embed")}},
    },
}
# Norms: head 5; the two layers of stack/blocks 10 and 1; stack/middle 2.
GRADIENT = {
    "head": {"kernel": jnp.array([[3.0, 0.0]]), "bias": jnp.array([-4.0])},
    "stack": {
        "blocks": {
            "a": {"kernel": jnp.array([[6.0, 0.0], [0.0, 0.6]])},
            "b": {"bias": jnp.array([8.0, -0.8])},
        },
        "middle": {"a": {"kernel": jnp.array([[0.0, 2.0]])}},
    },
}


def clipped(num_steps=1, *, clip_norm=0.0, block_clip_norm=0.0, clip_from=0):
    transform = clipping(
        clip_norm=clip_norm,
        block_clip_norm=block_clip_norm,
        clip_from=clip_from,
        logical_axes=AXES,
    )
    state, found = transform.init(GRADIENT), []
    for _ in range(num_steps):
        updates, state = transform.update(GRADIENT, state)
        found.append(updates)
    return found


def assert_scaled(found, head, first, second, middle):
    scales = {
        "head": {"kernel": head, "bias": head},
        "stack": {
            "blocks": {
                "a": {"kernel": jnp.array([[first], [second]])},
                "b": {"bias": jnp.array([first, second])},
            },
            "middle": {"a": {"kernel": middle}},
        },
    }
    jax.tree.map(
        lambda a, g, s: np.testing.assert_allclose(a, g * s, rtol=1e-6),
        found,
        GRADIENT,
        scales,
    )


def test_every_layer_of_a_stack_is_clipped_by_its_own_norm():
    (found,) = clipped(block_clip_norm=2.5)
    assert_scaled(found, head=1 / 2, first=1 / 4, second=1, middle=1)


def test_blocks_below_the_norm_are_left_bit_for_bit():
    (found,) = clipped(block_clip_norm=10.5)
    jax.tree.map(np.testing.assert_array_equal, found, GRADIENT)


def test_blocks_of_zero_stay_zero():
    zeros = jax.tree.map(jnp.zeros_like, GRADIENT)
    transform = clipping(
        clip_norm=0.0, block_clip_norm=1.0, clip_from=0, logical_axes=AXES
    )
    found, _ = transform.update(zeros, transform.init(zeros))
    jax.tree.map(np.testing.assert_array_equal, found, zeros)


def test_the_global_norm_is_that_of_the_clipped_blocks():
    both, blocks = (
        clipped(clip_norm=1.0, block_clip_norm=2.5),
        clipped(block_clip_norm=2.5),
    )
    before = float(optax.tree.norm(blocks[0]))
    assert before > 1
    np.testing.assert_allclose(float(optax.tree.norm(both[0])), 1.0, rtol=1e-6)
    share = 1 / before
    assert_scaled(both[0], share / 2, share / 4, share, share)


@pytest.mark.parametrize("key", ["clip_norm", "block_clip_norm"])
def test_clipping_begins_after_the_named_steps(key):
    early, late = clipped(4, clip_from=2, **{key: 0.1}), clipped(**{key: 0.1})
    for found, wanted in zip(early, [GRADIENT, GRADIENT, *late, *late], strict=True):
        jax.tree.map(np.testing.assert_array_equal, found, wanted)


def test_norms_of_zero_clip_nothing():
    (found,) = clipped()
    jax.tree.map(np.testing.assert_array_equal, found, GRADIENT)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"clip_norm": -1.0}, "optimizer.clip_norm is -1.0; give at least 0"),
        ({"clip_norm": float("nan")}, "optimizer.clip_norm is nan"),
        ({"block_clip_norm": -0.5}, "optimizer.block_clip_norm is -0.5; give at least"),
        ({"clip_from": -2}, "optimizer.clip_from is -2; give at least 0"),
    ],
)
def test_what_cannot_clip_is_refused(changes, words):
    with pytest.raises(UserError, match=words):
        clipped(**changes)
