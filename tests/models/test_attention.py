import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dit_jax.models.attention import (
    ATTENTIONS,
    CrossAttention,
    SelfAttention,
    over_context,
)
from dit_jax.models.patterns import joint
from dit_jax.models.primitives import NoNorm, RMSNorm
from dit_jax.models.scene import Scene
from dit_jax.types import keep_placement
from tests.models import oracle

LENGTH = 37


def qkv(dtype=jnp.float32, length=LENGTH):
    keys = jax.random.split(jax.random.key(0), 3)
    return [2 * jax.random.normal(k, (2, length, 3, 8)).astype(dtype) for k in keys]


def mixer(norm=RMSNorm, rotary=lambda x, grid: x, norm_width=8):
    return SelfAttention(
        width=24,
        num_heads=3,
        attention=ATTENTIONS["xla"],
        pattern=joint,
        norm=norm,
        norm_width=norm_width,
        rotary=rotary,
        dtype=jnp.float32,
        constrain=keep_placement,
        rngs=nnx.Rngs(0),
    )


def test_without_positions_attention_permutes_with_its_tokens():
    x = jax.random.normal(jax.random.key(0), (2, 12, 24))
    order = np.random.default_rng(0).permutation(12)
    attend, scene = mixer(), Scene((1, 3, 4))
    np.testing.assert_allclose(
        attend(x[:, order], scene), attend(x, scene)[:, order], atol=1e-5
    )


@pytest.mark.parametrize(("norm", "same"), [(RMSNorm, True), (NoNorm, False)])
def test_qk_norm_makes_the_weights_free_of_the_inputs_scale(norm, same):
    attend, scene = mixer(norm), Scene((1, 3, 4))
    x = jax.random.normal(jax.random.key(0), (2, 12, 24))
    error = np.abs(attend(5 * x, scene) - 5 * attend(x, scene)).max()
    assert bool(error < 1e-4) is same


def test_the_qkv_columns_of_a_head_lie_together():
    """So a shard of the columns holds whole heads: head 1 needs only its third."""
    attend, scene = mixer(), Scene((1, 3, 4))
    x = jax.random.normal(jax.random.key(0), (2, 12, 24))
    attend.out.kernel[...] = jnp.eye(24)
    before = attend(x, scene)
    attend.qkv.kernel[...] = attend.qkv.kernel.at[:, 24:48].set(0.0)
    after = attend(x, scene)
    np.testing.assert_array_equal(after[..., :8], before[..., :8])
    np.testing.assert_array_equal(after[..., 16:], before[..., 16:])
    np.testing.assert_allclose(after[..., 8:16], 0, atol=1e-7)


def test_a_norm_over_the_whole_width_lets_heads_differ_in_size():
    """Per head, a head that is scaled is scaled back; over the width it is not."""
    x, scene = jax.random.normal(jax.random.key(0), (2, 12, 24)), Scene((1, 3, 4))
    for width, same in ((8, True), (24, False)):
        attend = mixer(norm_width=width)
        before = attend(x, scene)
        attend.qkv.kernel[...] = attend.qkv.kernel.at[:, :8].multiply(10.0)
        assert bool(np.abs(attend(x, scene) - before).max() < 1e-5) is same


def test_rotary_positions_turn_the_patches_and_not_the_extra_tokens():
    turned = []

    def rotary(x, grid):
        turned.append((x.shape[1], grid))
        return x

    x = jax.random.normal(jax.random.key(0), (2, 14, 24))
    mixer(rotary=rotary)(x, Scene((1, 3, 4), num_extra=2))
    assert turned == [(12, (1, 3, 4))] * 2


def test_attention_to_a_context_equals_the_float64_oracle_of_what_its_mask_shows():
    q, k, v = qkv()
    out = over_context(q, k[:, :9], v[:, :9], jnp.arange(9)[None].repeat(2, 0) < 5)
    np.testing.assert_allclose(
        out, oracle.attention(q, k[:, :5], v[:, :5]), rtol=1e-5, atol=1e-5
    )


def test_a_clip_without_context_gets_the_bias_alone():
    cross = CrossAttention(
        width=24,
        num_heads=3,
        norm=RMSNorm,
        norm_width=8,
        dtype=jnp.float32,
        constrain=keep_placement,
        rngs=nnx.Rngs(0),
    )
    cross.out.bias[...] = jnp.arange(24.0)
    x, context = jax.random.normal(jax.random.key(0), (2, 2, 12, 24))
    mask = jnp.zeros((2, 12), bool).at[0, 3].set(True)
    out = cross(x, Scene((1, 3, 4), context=context, context_mask=mask))
    np.testing.assert_allclose(out[1], np.tile(np.arange(24.0), (12, 1)))
    assert np.abs(np.asarray(out[0]) - np.arange(24.0)).max() > 0.1
