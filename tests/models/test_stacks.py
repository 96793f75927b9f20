from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dit_jax import types
from dit_jax.models.attention import SelfAttention, over_context, xla
from dit_jax.models.blocks import MLP, Block, Gated
from dit_jax.models.patterns import SPATIAL, TEMPORAL, joint
from dit_jax.models.positions import Rotary
from dit_jax.models.primitives import LayerNorm, NoNorm, PlainNorm, RMSNorm
from dit_jax.models.remat import REMATS
from dit_jax.models.scene import Scene
from dit_jax.models.stacks import LongSkips, Straight

SCENE = Scene((2, 1, 3))
PLACED = {"width": 24, "dtype": "float32", "constrain": types.keep_placement}


def branches(pattern=joint):
    norm = partial(PlainNorm, 24)
    attention = partial(
        SelfAttention,
        num_heads=2,
        attention=xla,
        pattern=pattern,
        norm=RMSNorm,
        norm_width=12,
        rotary=Rotary((4, 4, 4)),
        **PLACED,
    )
    return {
        "attention": partial(Gated, attention, norm=norm),
        "mlp": partial(Gated, partial(MLP, hidden=32, **PLACED), norm=norm),
    }


def straight(
    patterns=(joint,), depth=3, remat=REMATS["none"], constrain=types.keep_placement
):
    phases = [partial(Block, branches(pattern)) for pattern in patterns]
    return Straight(
        phases,
        depth=depth,
        remat=remat,
        dtype="float32",
        constrain=constrain,
        rngs=nnx.Rngs(0),
    )


def long_skips(depth=5, skip_norm=NoNorm, remat=REMATS["none"]):
    return LongSkips(
        partial(Block, branches()),
        depth=depth,
        width=24,
        skip_norm=partial(skip_norm, 24),
        remat=remat,
        dtype="float32",
        constrain=types.keep_placement,
        rngs=nnx.Rngs(0),
    )


X = jax.random.normal(jax.random.key(0), (2, 6, 24))
MODULATIONS = jax.random.normal(jax.random.key(1), (5, 2, 1, 6, 24))


def one(blocks, i, pattern=joint):
    """Block i of stacked blocks, alone."""
    alone = Block(branches(pattern), rngs=nnx.Rngs(0))
    nnx.update(alone, jax.tree.map(lambda leaf: leaf[i], nnx.state(blocks)))
    return lambda x, number: alone(x, MODULATIONS[number], SCENE)


def close(ours, expected):
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


def test_scanning_equals_a_loop_over_the_layers():
    stack, x = straight(), X
    for i in range(3):
        x = one(stack.blocks, i)(x, i)
    close(stack(X, MODULATIONS[:3], SCENE), x)


@pytest.mark.parametrize("depth", [4, 5])
def test_phases_take_turns_also_when_the_last_round_is_not_whole(depth):
    patterns = (SPATIAL, TEMPORAL)
    stack, x = straight(patterns, depth), X
    for i in range(depth):
        x = one(stack.blocks, i, patterns[i % 2])(x, i)
    close(stack(X, MODULATIONS[:depth], SCENE), x)


@pytest.mark.parametrize("skip_norm", [NoNorm, LayerNorm])
def test_long_skips_join_the_last_in_with_the_first_out(skip_norm):
    stack = long_skips(skip_norm=skip_norm)
    first = one(stack.blocks_in, 0)(X, 0)
    second = one(stack.blocks_in, 1)(first, 1)
    x = one(stack.middle, 0)(second, 2)
    for i, skip in enumerate((second, first)):
        kernel, bias = stack.merges.linear.kernel[i], stack.merges.linear.bias[i]
        x = jnp.concatenate([x, skip], -1) @ kernel + bias[None, None]
        x = skip_norm(24, rngs=nnx.Rngs(0))(x)
        x = one(stack.blocks_out, i)(x, 3 + i)
    close(stack(X, MODULATIONS, SCENE), x)


def test_every_layer_starts_with_weights_of_its_own():
    kernel = straight().blocks.attention.layer.qkv.kernel[...]
    assert np.abs(kernel[0] - kernel[1]).max() > 0.1
    assert np.abs(kernel[1] - kernel[2]).max() > 0.1


def test_every_layer_has_the_spread_of_one_layer_built_alone():
    stacked = straight().blocks.mlp.layer.hidden.kernel[...]
    limit = np.sqrt(6 / (24 + 32))  # Xavier-uniform, of one layer's fan
    assert 0.9 * limit < np.abs(stacked).max() <= limit


@pytest.mark.parametrize("what", ["value", "gradient"])
@pytest.mark.parametrize("make", [partial(straight, depth=5), long_skips])
@pytest.mark.parametrize("remat", ["full", "attention", "offload"])
def test_remat_changes_neither_values_nor_gradients(remat, make, what):
    def result(remat):
        graphdef, params = nnx.split(make(remat=remat))

        def total(params):
            return (nnx.merge(graphdef, params)(X, MODULATIONS, SCENE) ** 2).mean()

        return total(params) if what == "value" else jax.grad(total)(params)

    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6),
        result(REMATS[remat]),
        result(REMATS["none"]),
    )


def test_remat_needs_less_memory():
    def temporary_bytes(remat):
        graphdef, params = nnx.split(straight(remat=remat))
        total = lambda p, x: nnx.merge(graphdef, p)(x, many, SCENE).sum()  # noqa: E731
        many = jnp.ones((3, 64, 1, 6, 24))
        lowered = jax.jit(jax.grad(total)).lower(params, jnp.ones((64, 6, 24)))
        return lowered.compile().memory_analysis().temp_size_in_bytes

    assert temporary_bytes(REMATS["full"]) < 0.7 * temporary_bytes(REMATS["none"])


def test_without_remat_no_softmax_and_no_product_runs_again():
    def count(remat, operation):
        graphdef, params = nnx.split(straight(remat=REMATS[remat]))
        total = lambda p: nnx.merge(graphdef, p)(X, MODULATIONS, SCENE).sum()  # noqa: E731
        return str(jax.make_jaxpr(jax.grad(total))(params)).count(f" = {operation}")

    # nothing but a softmax looks for a largest value
    assert (count("none", "reduce_max"), count("full", "reduce_max")) == (1, 2)
    # q, k, v; scores and what they weigh; out; the MLP but its end
    again = 3 + 2 + 1 + 1
    assert count("full", "dot_general") == count("none", "dot_general") + again


@pytest.mark.parametrize("mask", [None, jnp.ones((2, 3), bool)])
def test_without_remat_no_softmax_over_a_context_runs_again(mask):
    q, context = jnp.ones((2, 6, 2, 12)), jnp.ones((2, 3, 2, 12))

    def count(remat):
        layer = REMATS[remat](lambda q, k: over_context(q, k, k, mask))
        backward = jax.grad(lambda q: layer(q, context).sum())
        return str(jax.make_jaxpr(backward)(q)).count(" = exp")

    assert (count("none"), count("full")) == (1, 2)


def test_remat_keeps_its_input_of_every_layer_and_no_parameters():
    """What the scan forward stacks for the scan back."""
    graphdef, params = nnx.split(straight(remat=REMATS["full"]))
    total = lambda p: nnx.merge(graphdef, p)(X, MODULATIONS, SCENE).sum()  # noqa: E731
    equations = jax.make_jaxpr(jax.grad(total))(params).eqns
    forward = next(e for e in equations if e.primitive.name == "scan")
    stacked = forward.outvars[forward.params["num_carry"] :]
    assert [kept.aval.shape for kept in stacked] == [(3, *X.shape)]


def test_the_residual_stream_is_placed_after_every_block():
    placed = []

    class Watching(types.Constrain):
        def __call__(self, x, dims):
            placed.append((x.shape, dims))
            return x

    straight(constrain=Watching())(X, MODULATIONS[:3], SCENE)
    assert ((2, 6, 24), ("batch", "tokens", "embed")) in placed
