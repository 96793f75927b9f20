"""Small models with every parameter moved off its initial value."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from dit_jax import models, types
from dit_jax.models import presets

SHAPE = (2, 4, 6, 3)


def perturb(params, scale=0.1, seed=3):
    """Zero-initialised outputs would make every comparison pass as 0 = 0."""
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    return structure.unflatten(
        [
            leaf + scale * jax.random.normal(key, leaf.shape)
            for key, leaf in zip(keys, leaves, strict=True)
        ]
    )


@pytest.fixture
def small():
    """`(**overrides) -> (graphdef, perturbed params)` of a two-layer joint model."""

    def make(perturbed=True, **overrides):
        arguments = {"depth": 2, "width": 48, "num_heads": 2, "num_classes": 3}
        arguments |= {"latent_shape": SHAPE, "rngs": nnx.Rngs(0)} | overrides
        graphdef, params = models.split(presets.build("joint-tiny/1x2x2", **arguments))
        return graphdef, perturb(params) if perturbed else params

    return make


@pytest.fixture
def inputs():
    """x, t and conditioning for a batch of two."""
    x = jax.random.normal(jax.random.key(0), (2, *SHAPE))
    label = jnp.array([0, 2], jnp.int32)
    return x, jnp.array([0.2, 0.7]), types.Conditioning(label=label)
