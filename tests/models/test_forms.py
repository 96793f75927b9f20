"""Every form of attention is the same function, gradients included."""

from unittest.mock import Mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax.models.attention import ATTENTIONS
from dit_jax.models.chunked import Chunks
from dit_jax.models.forms import of_passes
from dit_jax.models.splash import Splash
from dit_jax.models.splash_blocks import Blocks, Sizes
from tests.models import oracle

LENGTH = 157
IDS = np.repeat([[0, 1, 2], [3, 0, 3]], [40, 97, 20], axis=1).astype(np.int32)
SIZES = Sizes(Blocks(128, 256, 128), Blocks(128, 128, 128))
# small blocks, so that there are several and the last is filled up
FORMS = {
    "auto": ATTENTIONS["auto"],
    "xla": ATTENTIONS["xla"],
    "chunked": of_passes("chunked", Chunks(64)),
    "splash": of_passes("splash", Splash(sizes=SIZES, interpret=True)),
}


def qkv(width=8, dtype=jnp.float32, count=4):
    """q, k, v and the gradient of the output."""
    keys = jax.random.split(jax.random.key(0), count)
    return [jax.random.normal(key, (2, LENGTH, 2, width)).astype(dtype) for key in keys]


def compiled(form):
    """`(q, k, v, d_out, ids) -> out, d_q, d_k, d_v`."""

    @jax.jit
    def run(q, k, v, d_out, ids):
        out, backward = jax.vjp(lambda *x: form(*x, ids), q, k, v)
        return out, *backward(d_out)

    return run


def test_every_form_that_runs_here_is_tested():
    assert {name for name, f in ATTENTIONS.items() if "cpu" in f.platforms} < {*FORMS}


@pytest.mark.parametrize(
    "width, ids", [(64, IDS), (72, None), (72, IDS), (128, IDS), (256, None)]
)
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_outputs_and_gradients_equal_the_float64_oracle(form, ids, width):
    q, k, v, d_out = qkv(width)
    ours = compiled(form)(2 * q, 2 * k, v, d_out, ids)
    wanted = (
        oracle.attention(2 * q, 2 * k, v, ids),
        *oracle.gradients(2 * q, 2 * k, v, d_out, ids),
    )
    for mine, exact in zip(ours, wanted, strict=True):
        np.testing.assert_allclose(mine, exact, atol=1e-5 * np.abs(exact).max())


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_other_segments_change_nothing(form):
    """So padded text, a segment of its own, is seen by nobody and sees nobody."""
    q, k, v, d_out = qkv()
    inside = jnp.asarray(IDS[:, :1] == IDS)
    run = compiled(form)

    def seen(k, v):
        shown = jnp.where(inside[..., None, None], d_out, 0)
        out, *grads = run(q, k, v, shown, IDS)
        return [np.asarray(x)[np.asarray(inside)] for x in (out, *grads)]

    there = inside[..., None, None]
    others = jnp.where(there, k, 9.0), jnp.where(there, v, -9.0)
    for before, after in zip(seen(k, v), seen(*others), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_bfloat16_in_is_bfloat16_out_with_a_float32_softmax(form):
    q, k, v, d_out = qkv(64, jnp.bfloat16)
    out, *grads = compiled(form)(q, k, v, d_out, None)
    assert {x.dtype for x in (out, *grads)} == {jnp.dtype(jnp.bfloat16)}
    exact = oracle.attention(q, k, v)
    error = np.abs(out.astype(jnp.float32) - exact).max()
    assert error < 2**-7 * np.abs(exact).max()


@pytest.mark.parametrize("name", ["splash", "cudnn"])
def test_a_form_on_the_wrong_device_is_refused_with_the_remedy(name):
    words = f"'{name}', which runs on .pu only, but the mesh is of cpu.*to chunked or"
    with pytest.raises(ValueError, match=words):
        ATTENTIONS[name].on(jax.devices()[0])


@pytest.mark.parametrize("name", ["xla", "chunked"])
def test_forms_of_plain_jax_run_everywhere(name):
    assert ATTENTIONS[name].on(jax.devices()[0]) is ATTENTIONS[name]


@pytest.mark.parametrize(
    "capability, dtype, width, words",
    [
        ("9.0", jnp.float32, 64, "model.dtype is float32; change model.dtype"),
        ("9.0", jnp.bfloat16, 76, "multiples of 8 up to 256 .* they are 76"),
        ("9.0", jnp.bfloat16, 264, "up to 256 on this GPU, but they are 264"),
        ("8.0", jnp.bfloat16, 256, "up to 128 on this GPU, but they are 256"),
    ],
)
def test_cudnn_refuses_what_its_kernels_cannot_do(capability, dtype, width, words):
    facts = {"platform": "gpu", "device_kind": "a GPU"}
    gpu = Mock(spec=jax.Device, compute_capability=capability, **facts)
    form = ATTENTIONS["cudnn"].on(gpu)
    q, k, v, _ = qkv(width, dtype)
    with pytest.raises(ValueError, match=words):
        form(q, k, v)
