"""Small models with every parameter moved off its initial value."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dit_jax import models, types
from dit_jax.models import presets

SHAPE = (2, 4, 6, 3)


def perturbed(name, **arguments):
    """`(graphdef, params)` of a preset with every parameter off its initial value.

    Zero-initialised outputs would make every comparison pass as 0 = 0. Drawn by NumPy:
    JAX would compile a program for every shape.
    """
    graphdef, shapes = models.split(models.abstract(name, **arguments))
    draw = np.random.default_rng(3)

    def fill(path, leaf):
        is_kernel = leaf.ndim > 1
        spread = np.sqrt(2 / sum(leaf.shape[-2:]) + 0.01) if is_kernel else 0.1
        centre = 1.0 if path[-1].key == "scale" else 0.0
        values = centre + spread * draw.normal(size=leaf.shape)
        return jnp.asarray(values, leaf.dtype)

    return graphdef, jax.tree_util.tree_map_with_path(fill, shapes)


@pytest.fixture
def small():
    """`(**overrides) -> (graphdef, perturbed params)` of a two-layer joint model."""

    def make(fresh=False, seed=0, **overrides):
        arguments = {"depth": 2, "width": 48, "num_heads": 2, "num_classes": 3}
        arguments |= {"latent_shape": SHAPE} | overrides
        if not fresh:
            return perturbed("joint-tiny/1x2x2", **arguments)
        model = presets.build("joint-tiny/1x2x2", rngs=nnx.Rngs(seed), **arguments)
        return models.split(model)

    return make


@pytest.fixture
def inputs():
    """x, t and conditioning for a batch of two."""
    x = jax.random.normal(jax.random.key(0), (2, *SHAPE))
    label = jnp.array([0, 2], jnp.int32)
    return x, jnp.array([0.2, 0.7]), types.Conditioning(label=label)
