from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dit_jax.models import patches
from dit_jax.models.primitives import XAVIER, PlainNorm, layer_norm


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


def head(**overrides):
    arguments = {
        "norm": partial(PlainNorm, 8),
        "kernel_init": nnx.initializers.zeros_init(),
        "dtype": jnp.bfloat16,
        "rngs": nnx.Rngs(0),
    }
    return patches.Head(3, (1, 2, 2), 8, **arguments | overrides)


X = jax.random.normal(jax.random.key(0), (2, 5, 8))


def test_head_is_zero_at_init_and_float32_after_any_compute_dtype():
    out = head()(X.astype(jnp.bfloat16), jnp.ones((2, 1, 2, 8)))
    assert out.dtype == jnp.float32
    assert not out.any()


def test_without_modulation_the_head_is_the_norm_and_a_linear_map():
    plain = head(kernel_init=XAVIER, dtype=jnp.float32)
    zero = jnp.zeros((2, 1, 2, 8))
    np.testing.assert_array_equal(plain(X, None), plain(X, zero))
    expected = layer_norm(X) @ plain.out.kernel[...]
    np.testing.assert_allclose(plain(X, None), expected, atol=1e-5)


def test_the_frame_convolution_sees_no_other_frame():
    conv = patches.FrameConv(3, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (1, 3, 4, 5, 3))
    change = np.abs(conv(x.at[0, 1, 2, 2].add(1.0)) - conv(x)).max((0, 4))
    assert not change[0].any() and not change[2].any()
    assert (change[1, 1:4, 1:4] > 0).all() and not change[1, 0].any()
