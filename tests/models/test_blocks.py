import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dit_jax.models.attention import Scene
from dit_jax.models.blocks import Block
from dit_jax.models.primitives import layer_norm

SCENE = Scene((1, 1, 5))
X = jax.random.normal(jax.random.key(0), (2, 5, 8))


class Times(nnx.Module):
    def __init__(self, factor, *, rngs):
        del rngs
        self.factor = factor

    def __call__(self, x, scene):
        del scene
        return self.factor * x


def layers(**factors):
    return {
        name: lambda rngs, factor=factor: Times(factor, rngs=rngs)
        for name, factor in factors.items()
    }


def test_closed_gates_are_the_identity():
    block = Block(layers(mixer=3.0, mlp=5.0), rngs=nnx.Rngs(0))
    modulation = jnp.ones((2, 6, 8)).at[:, 2].set(0).at[:, 5].set(0)
    np.testing.assert_array_equal(block(X, modulation, SCENE), X)


def test_a_branch_adds_its_gated_layer_of_the_modulated_norm():
    block = Block(layers(mixer=3.0), rngs=nnx.Rngs(0))
    shift, scale, gate = modulation = jax.random.normal(jax.random.key(1), (3, 2, 8))
    out = block(X, jnp.swapaxes(modulation, 0, 1), SCENE)
    normed = layer_norm(X) * (1 + scale[:, None]) + shift[:, None]
    np.testing.assert_allclose(out, X + gate[:, None] * 3.0 * normed, atol=1e-5)


def test_layers_apply_in_the_order_given_also_after_split_and_merge():
    block = Block(layers(second=3.0, first=0.0), rngs=nnx.Rngs(0))
    alone = Block(layers(only=3.0), rngs=nnx.Rngs(0))
    modulation = jax.random.normal(jax.random.key(1), (2, 6, 8))
    expected = alone(X, modulation[:, :3], SCENE)
    merged = nnx.merge(*nnx.split(block))
    np.testing.assert_allclose(merged(X, modulation, SCENE), expected, atol=1e-6)
