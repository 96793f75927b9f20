"""Two streams with a time of their own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax import models
from dit_jax.models import presets
from dit_jax.types import Conditioning
from tests.models.conftest import perturbed

SHAPE = (1, 8, 8, 4)
SMALL = {"depth": 5, "width": 32, "num_heads": 2, "text_dims": 6, "text_length": 3}
TYPE = Conditioning(label=jnp.array([0, 1], jnp.int32))


def small(name="unidiffuser-v1/2"):
    return perturbed(name, latent_shape=SHAPE, num_classes=2, clip_dims=10, **SMALL)


def streams(seed=0, side=8):
    keys = jax.random.split(jax.random.key(seed), 3)
    return {
        "image": {
            "latents": jax.random.normal(keys[0], (2, 1, side, side, 4)),
            "clip": jax.random.normal(keys[1], (2, 1, 10)),
        },
        "text": jax.random.normal(keys[2], (2, 3, 6)),
    }


def times(image=0.3, text=0.8):
    return {"image": jnp.full(2, image), "text": jnp.full(2, text)}


def change(a, b):
    pair = map(jax.tree.leaves, (a, b))
    return [np.abs(x - y).max() for x, y in zip(*pair, strict=True)]


def test_every_stream_sees_every_other_and_both_times():
    graphdef, params = small()
    x = streams()
    out = models.apply(graphdef, params, x, times(), TYPE)
    assert jax.tree.map(jnp.shape, out) == jax.tree.map(jnp.shape, x)
    moved = [
        models.apply(graphdef, params, x, times(image=0.31), TYPE),
        models.apply(graphdef, params, x, times(text=0.81), TYPE),
        models.apply(graphdef, params, x | {"text": x["text"] + 1}, times(), TYPE),
    ]
    for other in moved:
        assert min(change(out, other)) > 1e-4


def test_the_type_of_the_data_is_told_by_its_own_token():
    graphdef, params = small()
    x = streams()
    out = models.apply(graphdef, params, x, times(), TYPE)
    other = Conditioning(label=jnp.array([0, 0], jnp.int32))
    after = models.apply(graphdef, params, x, times(), other)
    np.testing.assert_array_equal(after["text"][0], out["text"][0])
    assert np.abs(after["text"][1] - out["text"][1]).max() > 1e-4


def test_the_model_without_that_token_refuses_a_type():
    graphdef, params = small("unidiffuser-v0/2")
    with pytest.raises(ValueError, match=r"conditioning\.label"):
        models.apply(graphdef, params, streams(), times(), TYPE)


def test_an_image_of_another_size_resizes_the_learned_positions():
    graphdef, params = small()
    x = streams(side=12)
    out = models.apply(graphdef, params, x, times(), TYPE)
    assert out["image"]["latents"].shape == (2, 1, 12, 12, 4)


@pytest.mark.parametrize(
    ("key", "value"), [("conditioning", "adaln_zero"), ("mixing", "spatial")]
)
def test_what_it_does_not_go_with_is_refused(key, value):
    with pytest.raises(ValueError, match=f"streams=image_text goes with model.{key}"):
        presets.resolve("unidiffuser-v0/2", {key: value})
