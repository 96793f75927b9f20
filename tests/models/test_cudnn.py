"""cuDNN's attention where it runs: on an NVIDIA GPU."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax.models.attention import ATTENTIONS
from tests.models import oracle
from tests.models.test_forms import IDS, compiled, qkv

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        jax.default_backend() != "gpu", reason="needs a GPU and JAX_PLATFORMS=cuda,cpu"
    ),
]


@pytest.fixture(scope="module")
def forms():
    """Fitted to the GPU at hand."""
    names = ("auto", "chunked", "cudnn", "xla")
    return {name: ATTENTIONS[name].on(jax.devices()[0]) for name in names}


@pytest.mark.parametrize("ids", [None, IDS], ids=["whole", "segments"])
@pytest.mark.parametrize("width", [64, 72, 128, 256])
def test_outputs_and_gradients_are_as_near_to_the_oracle_as_bfloat16(forms, width, ids):
    q, k, v, d_out = qkv(width, jnp.bfloat16)
    ours = compiled(forms["cudnn"])(q, k, v, d_out, ids)
    wanted = (
        oracle.attention(q, k, v, ids),
        *oracle.gradients(q, k, v, d_out, ids),
    )
    for mine, exact in zip(ours, wanted, strict=True):
        assert mine.dtype == jnp.bfloat16
        far = np.abs(np.asarray(mine, np.float64) - exact).max()
        assert far < 2**-6 * np.abs(exact).max()


def test_other_segments_change_nothing(forms):
    q, k, v, d_out = qkv(64, jnp.bfloat16)
    run = compiled(forms["cudnn"])
    inside = IDS[:, :1] == IDS
    there = jnp.asarray(inside)[..., None, None]
    shown = jnp.where(there, d_out, 0)

    def seen(k, v):
        out, *grads = run(q, k, v, shown, IDS)
        return [np.asarray(x, np.float32)[inside] for x in (out, *grads)]

    others = jnp.where(there, k, 9.0), jnp.where(there, v, -9.0)
    for before, after in zip(seen(k, v), seen(*others), strict=True):
        np.testing.assert_array_equal(before, after)


def test_auto_takes_the_kernels_of_the_gpu(forms):
    q, k, v, _ = qkv(64, jnp.bfloat16)
    text = jax.jit(lambda *x: forms["auto"](*x, None)).lower(q, k, v).as_text()
    assert "cudnn" in text


def test_memory_does_not_grow_with_tokens_squared(forms):
    """16,384 tokens of 4 heads, forward and backward: the scores would be 2 GB."""
    x = jax.ShapeDtypeStruct((1, 16384, 4, 64), jnp.bfloat16)
    for name in ("cudnn", "chunked"):
        run = compiled(forms[name]).lower(x, x, x, x, None).compile()
        assert run.memory_analysis().temp_size_in_bytes < 200e6, name
