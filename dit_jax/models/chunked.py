"""Attention whose memory is linear in the number of tokens, forward and backward.

For a query block, key blocks are visited in turn with a running maximum m and a running
sum l, so that out = sum_j exp(s_j - m) v_j / l with s = q k^T / sqrt(head_dim); the
backward pass recomputes each block's probabilities from lse = m + log(l). Online
softmax: arXiv:1805.02867; the backward pass: arXiv:2205.14135, appendix B.

Inside, arrays are blocks of heads-first tensors: [blocks, B, heads, block, head_dim].
"""

import dataclasses

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float, Int

from dit_jax.models.passes import attend
from dit_jax.types import PADDED

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
    return attend(Chunks(block), q, k, v, segment_ids)


@dataclasses.dataclass(frozen=True)
class Chunks:
    """The passes of `chunked`, in blocks of `block` queries and keys."""

    block: int = BLOCK

    def forward(
        self,
        q: Array,
        k: Array,
        v: Array,
        query_ids: Array | None,
        key_ids: Array | None,
    ) -> tuple[Array, Array]:
        length = q.shape[1]
        queries, keys = self._cut(q, k, v, query_ids, key_ids)
        out, lse = _forward(queries, keys)
        out = rearrange(out, "n B heads b d -> B (n b) heads d")[:, :length]
        return out, rearrange(lse, "n B heads b -> B heads (n b)")[..., :length]

    def backward(
        self,
        q: Array,
        k: Array,
        v: Array,
        query_ids: Array | None,
        key_ids: Array | None,
        d_out: Array,
        lse: Array,
        delta: Array,
    ) -> tuple[Array, Array, Array]:
        queries, keys = self._cut(q, k, v, query_ids, key_ids)
        size = queries[0].shape[-2]
        d_out = _to_blocks(d_out, size)
        lse, delta = (_rows_to_blocks(x, size) for x in (lse, delta))
        d_q, d_k, d_v = _backward((*queries, d_out, lse, delta), keys)
        back = "n B heads b d -> B (n b) heads d"
        d_k, d_v = (rearrange(x, back)[:, : k.shape[1]] for x in (d_k, d_v))
        return rearrange(d_q, back)[:, : q.shape[1]], d_k, d_v

    def _cut(
        self,
        q: Array,
        k: Array,
        v: Array,
        query_ids: Array | None,
        key_ids: Array | None,
    ) -> tuple[tuple, tuple]:
        """Blocks of (q, ids) and of (k, v, ids)."""
        sizes = [min(self.block, x.shape[1]) for x in (q, k)]
        if query_ids is None and k.shape[1] % sizes[1]:
            query_ids, key_ids = (jnp.zeros(x.shape[:2], jnp.int32) for x in (q, k))
        ids = (
            None if x is None else _ids_to_blocks(x, size)
            for x, size in zip((query_ids, key_ids), sizes, strict=True)
        )
        queries = (_to_blocks(q, sizes[0]), next(ids))
        return queries, (_to_blocks(k, sizes[1]), _to_blocks(v, sizes[1]), next(ids))


def _to_blocks(x: Array, block: int) -> Array:
    padded = jnp.pad(x, ((0, 0), (0, -x.shape[1] % block), (0, 0), (0, 0)))
    return rearrange(padded, "B (n b) heads d -> n B heads b d", b=block)


def _ids_to_blocks(ids: Array, block: int) -> Array:
    padding = ((0, 0), (0, -ids.shape[1] % block))
    ids = jnp.pad(ids, padding, constant_values=PADDED)
    return rearrange(ids, "B (n b) -> n B b", b=block)


def _rows_to_blocks(x: Array, block: int) -> Array:
    padded = jnp.pad(x, ((0, 0), (0, 0), (0, -x.shape[2] % block)))
    return rearrange(padded, "B heads (n b) -> n B heads b", b=block)


def _forward(queries: tuple, keys: tuple) -> tuple[Array, Array]:
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
        (total, sums, top), _ = jax.lax.scan(visit, start, keys)
        out = (total / sums[..., None]).astype(query[0].dtype)
        return out, top + jnp.log(sums)

    return jax.lax.map(one_query_block, queries)


def _backward(queries: tuple, keys: tuple) -> tuple[Array, Array, Array]:
    """Blocks of d_q, d_k and d_v, float32; queries: (q, ids, d_out, lse, delta)."""
    scale = queries[0].shape[-1] ** -0.5

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
        d_kv, d_q_parts = jax.lax.scan(visit, start, queries)
        return d_q + d_q_parts, d_kv

    d_q, (d_k, d_v) = jax.lax.scan(one_key_block, jnp.zeros(queries[0].shape), keys)
    return d_q, d_k, d_v


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
