import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dit_jax.models import primitives

X = jax.random.normal(jax.random.key(0), (2, 5, 16)) * 3 + 1


def test_layer_norm_gives_mean_zero_and_variance_one():
    y = primitives.layer_norm(X)
    np.testing.assert_allclose(y.mean(-1), 0, atol=1e-6)
    np.testing.assert_allclose(y.var(-1), 1, rtol=1e-5)


def test_layer_norm_ignores_shift_and_scale_of_its_input():
    y = primitives.layer_norm(7 * X - 4)
    np.testing.assert_allclose(y, primitives.layer_norm(X), atol=1e-5)


def test_norm_statistics_of_bfloat16_are_float32():
    x = (X + 100).astype(jnp.bfloat16)  # bf16 sums would lose the variance
    exact = np.asarray(x, np.float64)
    expected = (exact - exact.mean(-1, keepdims=True)) / exact.std(-1, keepdims=True)
    np.testing.assert_allclose(primitives.layer_norm(x), expected, atol=1e-3)


def test_modulation_of_zero_shift_and_scale_is_the_identity():
    zero = jnp.zeros((2, 1, 16))
    np.testing.assert_array_equal(primitives.modulate(X, zero, zero), X)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_gelu_has_the_slope_of_its_tanh_form(dtype):
    x = jnp.concatenate([jnp.linspace(-12, 12, 4801), jnp.array([-1e4, 1e4])])
    with jax.enable_x64(True):
        exact = jax.vmap(jax.grad(jax.nn.gelu))(x.astype(dtype).astype(jnp.float64))
    ours = jax.vmap(jax.grad(primitives.gelu_tanh))(x.astype(dtype))
    assert ours.dtype == dtype
    eps = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(np.asarray(ours, np.float64), exact, atol=16 * eps)


def test_rms_norm_matches_numpy_with_its_scale():
    norm = primitives.RMSNorm(16, rngs=nnx.Rngs(0))
    norm.scale[...] = jnp.arange(16.0)
    rms = np.sqrt(np.mean(np.square(X), -1, keepdims=True) + 1e-6)
    expected = np.asarray(X) / rms * np.arange(16.0)
    np.testing.assert_allclose(norm(X), expected, rtol=1e-5)


def test_each_group_of_tokens_has_a_shift_and_scale_of_its_own():
    """Six tokens in three groups: tokens 2 and 3 get the middle row."""
    x = jax.random.normal(jax.random.key(0), (2, 6, 16))
    shift, scale = jax.random.normal(jax.random.key(1), (2, 2, 3, 16))
    out = primitives.modulate(x, shift, scale)
    alone = primitives.modulate(x[:, 2:4], shift[:, 1:2], scale[:, 1:2])
    np.testing.assert_array_equal(out[:, 2:4], alone)


def test_an_affine_layer_norm_scales_and_shifts_the_plain_one():
    norm = primitives.LayerNorm(16, epsilon=0.5, rngs=nnx.Rngs(0))
    norm.scale[...], norm.bias[...] = jnp.arange(16.0), jnp.arange(16.0) - 3
    plain = np.asarray(primitives.layer_norm(X, 0.5))
    expected = plain * np.arange(16.0) + np.arange(16.0) - 3
    np.testing.assert_allclose(norm(X), expected, rtol=1e-5, atol=1e-5)
    assert np.abs(primitives.layer_norm(X, 0.5) - primitives.layer_norm(X)).max() > 0.01


@pytest.mark.parametrize("num_out", [5, 8, 11])
@pytest.mark.parametrize("shape", [(6, 8), (2, 3, 8), (2, 3, 1, 8)])
def test_a_product_and_its_gradients_are_those_of_matmul(shape, num_out):
    x = jax.random.normal(jax.random.key(0), shape)
    kernel = jax.random.normal(jax.random.key(1), (8, num_out))
    d_out = jax.random.normal(jax.random.key(2), (*shape[:-1], num_out))
    out, backward = jax.vjp(primitives.product, x, kernel)
    wanted, wanted_backward = jax.vjp(jnp.matmul, x, kernel)
    np.testing.assert_array_equal(out, wanted)
    for found, gradient in zip(backward(d_out), wanted_backward(d_out), strict=True):
        np.testing.assert_allclose(found, gradient, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_product_keeps_the_dtype_of_what_is_multiplied(dtype):
    x, kernel = jnp.ones((2, 3, 8), dtype), jnp.ones((8, 5), dtype)
    out, backward = jax.vjp(primitives.product, x, kernel)
    assert [part.dtype for part in (out, *backward(out))] == [dtype] * 3


def test_a_remat_policy_sees_the_product_itself():
    def loss(x, kernel):
        return jnp.sin(primitives.product(jnp.sin(x), kernel)).sum()

    kept = jax.checkpoint(loss, policy=jax.checkpoint_policies.dots_saveable)
    gradient = jax.grad(kept, argnums=(0, 1))
    traced = str(jax.make_jaxpr(gradient)(jnp.ones((3, 4)), jnp.ones((4, 5))))
    assert traced.count("dot_general[") == 3  # forward and two backward, none again
