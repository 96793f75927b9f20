from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dit_jax.models.blocks import AddTime, Block, Gated, Modulated, PostNorm, PreNorm
from dit_jax.models.positions import sincos_time
from dit_jax.models.primitives import PlainNorm, layer_norm
from dit_jax.models.scene import Scene

SCENE = Scene((1, 1, 5))
X = jax.random.normal(jax.random.key(0), (2, 5, 8))


class Times(nnx.Module):
    def __init__(self, factor, *, rngs):
        del rngs
        self.factor = factor

    def __call__(self, x, scene):
        del scene
        return self.factor * x


def block(kind=Gated, **factors):
    norm = partial(PlainNorm, 8)
    branches = {
        name: partial(kind, partial(Times, factor), norm=norm)
        for name, factor in factors.items()
    }
    return Block(branches, rngs=nnx.Rngs(0))


def test_closed_gates_are_the_identity():
    modulation = jnp.ones((2, 1, 6, 8)).at[:, :, 2].set(0).at[:, :, 5].set(0)
    out = block(mixer=3.0, mlp=5.0)(X, modulation, SCENE)
    np.testing.assert_array_equal(out, X)


SHIFT, SCALE, GATE = jax.random.normal(jax.random.key(1), (3, 2, 1, 8))
NORMED = layer_norm(X) * (1 + SCALE) + SHIFT


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (PreNorm, X + 3 * layer_norm(X)),
        (PostNorm, layer_norm(X + 3 * X)),
        (Modulated, X + 3 * NORMED),
        (Gated, X + 3 * GATE * NORMED),
    ],
)
def test_a_branch_adds_its_layer_in_its_own_way(kind, expected):
    rows = jnp.stack([SHIFT, SCALE, GATE], axis=2)[:, :, : kind.parts]
    out = block(kind, mixer=3.0)(X, rows, SCENE)
    np.testing.assert_allclose(out, expected, atol=1e-5)


def test_every_frame_can_have_modulations_of_its_own():
    """Two frames of two tokens: the clip in one equals the frames apart."""
    x = X[:, :4]
    modulation = jax.random.normal(jax.random.key(1), (2, 2, 3, 8))
    mixer = block(mixer=3.0)
    whole = mixer(x, modulation, SCENE)
    parts = [
        mixer(x[:, 2 * i : 2 * i + 2], modulation[:, i : i + 1], SCENE) for i in (0, 1)
    ]
    np.testing.assert_allclose(whole, jnp.concatenate(parts, 1), atol=1e-6)


def test_branches_apply_in_the_order_given_also_after_split_and_merge():
    both, alone = block(second=3.0, first=0.0), block(only=3.0)
    modulation = jax.random.normal(jax.random.key(1), (2, 1, 6, 8))
    expected = alone(X, modulation[:, :, :3], SCENE)
    merged = nnx.merge(*nnx.split(both))
    np.testing.assert_allclose(merged(X, modulation, SCENE), expected, atol=1e-6)


@pytest.mark.parametrize("layer", [0, 1, 3])
def test_the_table_of_the_frames_is_added_before_one_block_only(layer):
    scene = Scene((5, 1, 1), layer=jnp.int32(layer))
    out = AddTime(at=1, rngs=nnx.Rngs(0))(X, jnp.zeros((2, 1, 0, 8)), scene)
    added = sincos_time((5, 1, 1), 8) if layer == 1 else jnp.zeros((5, 8))
    np.testing.assert_allclose(out - X, jnp.stack([added, added]), atol=1e-6)
