"""From two passes to one differentiable attention function.

Its output and log-sum-exp are named, so that a remat policy can save them: then the
backward pass of a recomputed block runs no forward pass of the scores again.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

from dit_jax import types

SAVED_OUT = "attention_out"
SAVED_LSE = "attention_lse"


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def attend(
    passes: types.Passes, q: Array, k: Array, v: Array, segment_ids: Array | None = None
) -> Array:
    """Attention among [B, N, heads, head_dim] by `passes`; q's dtype out."""
    return passes.forward(q, k, v, segment_ids, segment_ids)[0].astype(q.dtype)


def _forward(
    passes: types.Passes, q: Array, k: Array, v: Array, segment_ids: Array | None
) -> tuple[Array, tuple]:
    out, lse = passes.forward(q, k, v, segment_ids, segment_ids)
    out = checkpoint_name(out.astype(q.dtype), SAVED_OUT)
    lse = checkpoint_name(lse, SAVED_LSE)
    return out, (q, k, v, segment_ids, out, lse)


def _backward(
    passes: types.Passes, saved: tuple, d_out: Array
) -> tuple[Array, Array, Array, None]:
    q, k, v, ids, out, lse = saved
    d_q, d_k, d_v = passes.backward(q, k, v, ids, ids, d_out, lse, delta(out, d_out))
    return d_q.astype(q.dtype), d_k.astype(k.dtype), d_v.astype(v.dtype), None


attend.defvjp(_forward, _backward)


def delta(out: Array, d_out: Array) -> Float[Array, "B heads N"]:
    """float32: the sum of out * d_out cancels against p in every score's gradient."""
    products = out.astype(jnp.float32) * d_out.astype(jnp.float32)
    return jnp.swapaxes(jnp.sum(products, axis=-1), 1, 2)
