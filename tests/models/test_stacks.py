from functools import partial

import jax
import numpy as np
import pytest
from flax import nnx

from dit_jax import types
from dit_jax.models.attention import Scene, SelfAttention, xla
from dit_jax.models.blocks import MLP, Block
from dit_jax.models.positions import Rotary
from dit_jax.models.primitives import RMSNorm
from dit_jax.models.stacks import Straight

SCENE = Scene((1, 2, 3))
PLACED = {"width": 24, "dtype": "float32", "constrain": types.keep_placement}
LAYERS = {
    "attention": partial(
        SelfAttention,
        num_heads=2,
        attention=xla,
        norm=RMSNorm,
        rotary=Rotary((4, 4, 4)),
        **PLACED,
    ),
    "mlp": partial(MLP, hidden=32, **PLACED),
}


def straight(remat=False, constrain=types.keep_placement):
    make = partial(Block, LAYERS)
    return Straight(make, depth=3, remat=remat, constrain=constrain, rngs=nnx.Rngs(0))


X, MODULATIONS = (
    jax.random.normal(jax.random.key(0), (2, 6, 24)),
    jax.random.normal(jax.random.key(1), (3, 2, 6, 24)),
)


def test_scanning_equals_a_loop_over_the_layers():
    stack = straight()
    graphdef, layers = nnx.split(stack.blocks)
    x = X
    for i in range(3):
        block = nnx.merge(graphdef, jax.tree.map(lambda leaf, i=i: leaf[i], layers))
        x = block(x, MODULATIONS[i], SCENE)
    np.testing.assert_allclose(stack(X, MODULATIONS, SCENE), x, rtol=1e-5, atol=1e-5)


def test_every_layer_starts_with_weights_of_its_own():
    kernel = straight().blocks.attention.qkv.kernel[...]
    assert np.abs(kernel[0] - kernel[1]).max() > 0.1
    assert np.abs(kernel[1] - kernel[2]).max() > 0.1


def test_every_layer_has_the_spread_of_one_layer_built_alone():
    stacked = straight().blocks.mlp.hidden.kernel[...]
    limit = np.sqrt(6 / (24 + 32))  # Xavier-uniform, of one layer's fan
    assert 0.9 * limit < np.abs(stacked).max() <= limit


@pytest.mark.parametrize("what", ["value", "gradient"])
def test_remat_changes_neither_values_nor_gradients(what):
    def result(remat):
        graphdef, params = nnx.split(straight(remat))

        def total(params):
            return (nnx.merge(graphdef, params)(X, MODULATIONS, SCENE) ** 2).mean()

        return total(params) if what == "value" else jax.grad(total)(params)

    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6),
        result(True),
        result(False),
    )


def test_remat_needs_less_memory():
    def temporary_bytes(remat):
        graphdef, params = nnx.split(straight(remat))
        total = lambda p, x: nnx.merge(graphdef, p)(x, many, SCENE).sum()  # noqa: E731
        many = jax.numpy.ones((3, 64, 6, 24))
        lowered = jax.jit(jax.grad(total)).lower(params, jax.numpy.ones((64, 6, 24)))
        return lowered.compile().memory_analysis().temp_size_in_bytes

    assert temporary_bytes(True) < 0.7 * temporary_bytes(False)


def test_the_residual_stream_is_placed_after_every_block():
    placed = []

    def constrain(x, dims):
        placed.append((x.shape, dims))
        return x

    straight(constrain=constrain)(X, MODULATIONS, SCENE)
    assert ((2, 6, 24), ("batch", "tokens", "embed")) in placed
