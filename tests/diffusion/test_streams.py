import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax.diffusion.streams import align, over_streams


@pytest.mark.parametrize("dims", [(), (2,), (2, 3), (2, 3, 4, 5)])
def test_times_multiply_data_along_its_leading_axes(dims):
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5, 6)).astype(np.float32)
    t = np.random.default_rng(1).uniform(size=dims).astype(np.float32)
    letters = "bthw"[: len(dims)]
    wanted = np.einsum(f"{letters},bthwc->bthwc", t, x)
    np.testing.assert_allclose(align(jnp.array(t), jnp.array(x)) * x, wanted, rtol=1e-6)


def test_times_of_another_batch_are_refused():
    with pytest.raises(ValueError, match=r"\(3,\) do not match .*\(2, 3, 4\)"):
        align(jnp.zeros(3), jnp.zeros((2, 3, 4)))


def test_each_stream_uses_its_own_times():
    x = {"video": jnp.ones((2, 3, 4)), "text": jnp.ones((2, 5))}
    t = {"video": jnp.array([[1.0, 2, 3], [4, 5, 6]]), "text": jnp.array([7.0, 8])}
    out = over_streams(lambda t, x: t * x, t, x)
    np.testing.assert_array_equal(out["video"][..., 0], t["video"])
    np.testing.assert_array_equal(out["text"][:, 0], t["text"])


def test_bare_times_serve_every_stream():
    x = {"video": jnp.ones((2, 3, 4)), "text": jnp.ones((2, 5))}
    out = over_streams(lambda t, x: t * x, jnp.array([7.0, 8]), x)
    np.testing.assert_array_equal(out["video"][:, 0, 0], [7, 8])
    np.testing.assert_array_equal(out["text"][:, 0], [7, 8])
