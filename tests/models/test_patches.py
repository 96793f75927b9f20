import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dit_jax.models import patches


@pytest.mark.parametrize("patch", [(1, 2, 2), (2, 1, 3), (1, 1, 1), (2, 4, 6)])
def test_unpatchify_inverts_patchify(patch):
    x = jax.random.normal(jax.random.key(0), (2, 2, 4, 6, 3))
    grid = patches.token_grid((2, 4, 6), patch)
    tokens = patches.patchify(x, patch)
    np.testing.assert_array_equal(patches.unpatchify(tokens, grid, patch), x)


def test_a_token_holds_one_spacetime_patch_and_frames_vary_slowest():
    x = jax.random.normal(jax.random.key(0), (1, 4, 4, 6, 3))
    tokens = patches.patchify(x, (2, 2, 3))  # grid 2 x 2 x 2
    expected = x[0, 2:4, 0:2, 3:6].reshape(-1)  # grid position (1, 0, 1)
    np.testing.assert_array_equal(tokens[0, 1 * 4 + 0 * 2 + 1], expected)


def test_a_patch_that_does_not_divide_is_one_sentence_naming_the_key():
    with pytest.raises(ValueError, match=r"2x4x6 .* 1x3x3; change model.patch"):
        patches.token_grid((2, 4, 6), (1, 3, 3))


def test_head_is_zero_at_init_and_float32_after_any_compute_dtype():
    head = patches.Head(3, (1, 2, 2), 8, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (2, 5, 8)).astype(jnp.bfloat16)
    out = head(x, jnp.ones((2, 2, 8)))
    assert out.dtype == jnp.float32
    assert not out.any()
