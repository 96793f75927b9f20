"""Attention whose memory is linear in the number of tokens, forward and backward.

For a query block, key blocks are visited in turn with a running maximum m and a running
sum l, so that out = sum_j exp(s_j - m) v_j / l with s = q k^T / sqrt(head_dim); the
backward pass recomputes each block's probabilities from lse = m + log(l). Online
softmax: arXiv:1805.02867; the backward pass: arXiv:2205.14135, appendix B.

Inside, arrays are blocks of heads-first tensors: [blocks, B, heads, block, head_dim].
"""

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float, Int

# Finite: a fully hidden block gives exp(0) under a maximum of HIDDEN, which the first
# visible block multiplies by exp(HIDDEN - m) = 0; infinities would give NaN here.
HIDDEN = -1e30
BLOCK = 512


def chunked(
    q: Float[Array, "B N heads head_dim"],
    k: Float[Array, "B N heads head_dim"],
    v: Float[Array, "B N heads head_dim"],
    segment_ids: Int[Array, "B N"] | None = None,
    *,
    block: int = BLOCK,
) -> Float[Array, "B N heads head_dim"]:
    """Softmax attention in blocks of `block` queries and keys; q's dtype out.

    Any length: the last block is padded with tokens of a segment of their own.
    """
    length = q.shape[1]
    block = min(block, length)
    padding = -length % block
    if padding and segment_ids is None:
        segment_ids = jnp.zeros(q.shape[:2], jnp.int32)
    if segment_ids is not None:
        ids = jnp.pad(segment_ids, ((0, 0), (0, padding)), constant_values=-1)
        segment_ids = rearrange(ids, "B (n b) -> n B b", b=block)
    out = _attend(*(_to_blocks(x, block, padding) for x in (q, k, v)), segment_ids)
    return rearrange(out, "n B heads b d -> B (n b) heads d")[:, :length]


def _to_blocks(x: Array, block: int, padding: int) -> Array:
    padded = jnp.pad(x, ((0, 0), (0, padding), (0, 0), (0, 0)))
    return rearrange(padded, "B (n b) heads d -> n B heads b d", b=block)


@jax.custom_vjp
def _attend(q: Array, k: Array, v: Array, ids: Array | None) -> Array:
    return _forward(q, k, v, ids)[0]


def _forward(q: Array, k: Array, v: Array, ids: Array | None) -> tuple[Array, Array]:
    """Blocks of the output and of the log-sum-exp."""

    def one_query_block(query: tuple[Array, Array | None]) -> tuple[Array, Array]:
        def visit(carry: tuple[Array, Array, Array], key: tuple) -> tuple:
            total, sums, top = carry
            scores = _scores(query[0], key[0], query[1], key[2])
            new_top = jnp.maximum(top, jnp.max(scores, axis=-1))
            p = jnp.exp(scores - new_top[..., None])
            shrink = jnp.exp(top - new_top)
            total = total * shrink[..., None] + _dot("bhqk,bhkd->bhqd", p, key[1])
            return (total, sums * shrink + jnp.sum(p, axis=-1), new_top), None

        rows = query[0].shape[:-1]
        start = (jnp.zeros(query[0].shape), jnp.zeros(rows), jnp.full(rows, HIDDEN))
        (total, sums, top), _ = jax.lax.scan(visit, start, (k, v, ids))
        return (total / sums[..., None]).astype(q.dtype), top + jnp.log(sums)

    return jax.lax.map(one_query_block, (q, ids))


def _save(q: Array, k: Array, v: Array, ids: Array | None) -> tuple[Array, tuple]:
    out, lse = _forward(q, k, v, ids)
    return out, (q, k, v, ids, out, lse)


def _backward(saved: tuple, d_out: Array) -> tuple[Array, Array, Array, None]:
    q, k, v, ids, out, lse = saved
    scale = q.shape[-1] ** -0.5
    # float32: the sum of d_out * out cancels against p in every score's gradient
    delta = jnp.sum(d_out.astype(jnp.float32) * out.astype(jnp.float32), axis=-1)

    def one_key_block(d_q: Array, key: tuple) -> tuple[Array, tuple[Array, Array]]:
        key_block, value_block, key_ids = key

        def visit(
            carry: tuple[Array, Array], query: tuple
        ) -> tuple[tuple[Array, Array], Array]:
            query_block, query_ids, d_out_block, lse_block, delta_block = query
            scores = _scores(query_block, key_block, query_ids, key_ids)
            p = jnp.exp(scores - lse_block[..., None])
            d_p = _dot("bhqd,bhkd->bhqk", d_out_block, value_block)
            d_scores = p * (d_p - delta_block[..., None]) * scale
            d_k = carry[0] + _dot("bhqk,bhqd->bhkd", d_scores, query_block)
            d_v = carry[1] + _dot("bhqk,bhqd->bhkd", p, d_out_block)
            return (d_k, d_v), _dot("bhqk,bhkd->bhqd", d_scores, key_block)

        start = (jnp.zeros(key_block.shape), jnp.zeros(key_block.shape))
        d_kv, d_q_parts = jax.lax.scan(visit, start, (q, ids, d_out, lse, delta))
        return d_q + d_q_parts, d_kv

    d_q, (d_k, d_v) = jax.lax.scan(one_key_block, jnp.zeros(q.shape), (k, v, ids))
    return d_q.astype(q.dtype), d_k.astype(k.dtype), d_v.astype(v.dtype), None


_attend.defvjp(_save, _backward)


def _scores(
    q: Array, k: Array, query_ids: Array | None, key_ids: Array | None
) -> Float[Array, "B heads q k"]:
    scores = _dot("bhqd,bhkd->bhqk", q, k) * q.shape[-1] ** -0.5
    if query_ids is None or key_ids is None:
        return scores
    same = query_ids[:, None, :, None] == key_ids[:, None, None, :]
    return jnp.where(same, scores, HIDDEN)


def _dot(pattern: str, a: Array, b: Array) -> Array:
    """Operands in the inputs' dtype, float32 sums."""
    dtype = jnp.result_type(b)
    return jnp.einsum(pattern, a.astype(dtype), b, preferred_element_type=jnp.float32)
