"""What a token attends to: the attention functions of one device and the joint mixer.

An attention function is `(q, k, v, segment_ids or None) -> out`: q, k, v and out are
[B, N, heads, head_dim]; segment_ids [B, N] int32, and tokens attend only to tokens of
their own id. Scores are scaled by head_dim^-0.5; the softmax is float32; the output has
q's dtype. A model receives the function as a constructor argument, so that forms that
run on a mesh can take its place.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, DTypeLike, Float, Int

from dit_jax import types
from dit_jax.models.chunked import HIDDEN, chunked
from dit_jax.models.positions import Triple
from dit_jax.models.primitives import linear


def xla(
    q: Float[Array, "B N heads head_dim"],
    k: Float[Array, "B N heads head_dim"],
    v: Float[Array, "B N heads head_dim"],
    segment_ids: Int[Array, "B N"] | None = None,
) -> Float[Array, "B N heads head_dim"]:
    """Plain attention; materialises the [N, N] scores of every head."""
    # heads first: batched matrix products of XLA's CPU backend are faster that way
    q, k, v = (jnp.swapaxes(x, 1, 2) for x in (q, k, v))
    scores = jnp.einsum("bhqd,bhkd->bhqk", q, k, preferred_element_type=jnp.float32)
    scores = scores * q.shape[-1] ** -0.5
    if segment_ids is not None:
        same = segment_ids[:, None, :, None] == segment_ids[:, None, None, :]
        scores = jnp.where(same, scores, HIDDEN)
    weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
    out = jnp.einsum("bhqk,bhkd->bhqd", weights, v, preferred_element_type=jnp.float32)
    return jnp.swapaxes(out, 1, 2).astype(q.dtype)


ATTENTIONS: dict[str, types.Attention] = {"xla": xla, "chunked": chunked}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Scene:
    """What a layer may see beside its own tokens.

    grid: tokens along (T, H, W), a compile-time constant.
    segment_ids: which tokens belong together; None is one clip a row.
    """

    grid: Triple = dataclasses.field(metadata={"static": True})
    segment_ids: Int[Array, "B N"] | None = None


class SelfAttention(nnx.Module):
    """Joint spacetime attention: every token of a clip attends to every other.

    norm: the QK-norm's factory, `RMSNorm` (per head, learned scale) or `NoNorm`.
    rotary: `(x, grid) -> x` on [B, N, heads, head_dim], see `positions.Rotary`.
    """

    def __init__(
        self,
        *,
        width: int,
        num_heads: int,
        attention: types.Attention,
        norm: Callable[..., nnx.Module],
        rotary: Callable[[Array, Triple], Array],
        dtype: DTypeLike,
        constrain: types.Constrain,
        rngs: nnx.Rngs,
    ):
        head_dim = width // num_heads
        # one product for q, k and v; columns are (head, qkv, head_dim), so that a shard
        # of the columns holds whole heads
        self.qkv = linear(width, 3 * width, ("embed", "heads"), dtype=dtype, rngs=rngs)
        self.out = linear(width, width, ("heads", "embed"), dtype=dtype, rngs=rngs)
        self.query_norm = norm(head_dim, rngs=rngs)
        self.key_norm = norm(head_dim, rngs=rngs)
        self.num_heads = num_heads
        self.attention = attention
        self.rotary = rotary
        self.constrain = constrain

    def __call__(self, x: Float[Array, "B N D"], scene: Scene) -> Float[Array, "B N D"]:
        qkv = self.qkv(x).reshape(*x.shape[:2], self.num_heads, 3, -1)
        q, k, v = (qkv[..., i, :] for i in range(3))
        q = self.rotary(self.query_norm(q), scene.grid).astype(v.dtype)
        k = self.rotary(self.key_norm(k), scene.grid).astype(v.dtype)
        dims = ("batch", "tokens", "heads", None)
        q, k, v = (self.constrain(part, dims) for part in (q, k, v))
        out = self.attention(q, k, v, scene.segment_ids)
        return self.out(out.reshape(*x.shape[:2], -1))
