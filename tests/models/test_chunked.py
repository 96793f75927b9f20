from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax.models.attention import xla
from dit_jax.models.chunked import chunked


def case(length, dim=8):
    keys = jax.random.split(jax.random.key(1), 4)
    q, k, v, out = (jax.random.normal(key, (2, length, 2, dim)) for key in keys)
    return 2 * q, 2 * k, v, out


def gradients(attention, q, k, v, d_out, ids):
    return jax.vjp(lambda *x: attention(*x, ids), q, k, v)[1](d_out)


@pytest.mark.parametrize("segments", [1, 3])
@pytest.mark.parametrize("length", [16, 37, 5])
def test_chunked_equals_plain_attention_forward_and_backward(length, segments):
    q, k, v, d_out = case(length)
    ids = None
    if segments > 1:
        ids = jax.random.randint(jax.random.key(2), (2, length), 0, segments)
    blocks = partial(chunked, block=8)
    np.testing.assert_allclose(
        blocks(q, k, v, ids), xla(q, k, v, ids), rtol=1e-5, atol=1e-5
    )
    for ours, plain in zip(
        gradients(blocks, q, k, v, d_out, ids),
        gradients(xla, q, k, v, d_out, ids),
        strict=True,
    ):
        np.testing.assert_allclose(ours, plain, rtol=1e-5, atol=1e-5)


def test_scores_far_beyond_the_range_of_exp_stay_finite():
    q, k, v, d_out = case(24)
    blocks = partial(chunked, block=8)
    for x in (blocks(100 * q, k, v), *gradients(blocks, 100 * q, k, v, d_out, None)):
        assert np.isfinite(x).all()


def backward_bytes(attention, length):
    """Temporary memory of the compiled gradient."""
    x = jax.ShapeDtypeStruct((1, length, 1, 16), jnp.float32)
    loss = lambda q, k, v: jnp.sum(attention(q, k, v, None) ** 2)  # noqa: E731
    compiled = jax.jit(jax.grad(loss, argnums=(0, 1, 2))).lower(x, x, x).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def test_memory_grows_linearly_with_tokens_where_plain_attention_squares():
    blocks = partial(chunked, block=64)
    small, large = (backward_bytes(blocks, length) for length in (2048, 8192))
    assert large < 4.4 * small
    assert backward_bytes(xla, 8192) > 10 * backward_bytes(xla, 2048)
    assert large < backward_bytes(xla, 8192) / 20
