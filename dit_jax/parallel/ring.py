"""Attention around a ring: keys and values travel, queries stay.

Device r of R holds chunk r of the tokens. At hop h it sees the keys of chunk r - h, so
after R - 1 hops it has seen all; the partial results (out_i, lse_i) are joined as
lse = log(sum_i exp(lse_i)), out = sum_i exp(lse_i - lse) out_i. The backward pass goes
round once more, and the gradients of keys and values travel with them. Ring attention:
arXiv:2310.01889.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from dit_jax.types import Passes


@dataclasses.dataclass(frozen=True)
class Ring:
    """The passes of a ring of `size` >= 2 devices, made of those of one device.

    axis: the mesh axis, whose index is ring * stride + (place inside the ring's step),
    so that it holds `stride` rings of devices that are `stride` apart. Ids are those of
    the whole ring, [B, size * N]: every device has all of them and none travel.
    """

    passes: Passes
    axis: str
    size: int
    stride: int

    def forward(
        self, q: Array, k: Array, v: Array, query_ids: Any, key_ids: Any
    ) -> tuple[Array, Array]:
        ids = self._ids(query_ids, 0, q.shape[1])

        def see(
            out: Array, lse: Array, kv: tuple[Array, Array], hop: Any
        ) -> tuple[Array, Array]:
            there = self._ids(key_ids, hop, k.shape[1])
            return join(out, lse, *self.passes.forward(q, kv[0], kv[1], ids, there))

        def step(carry: tuple, hop: Array) -> tuple:
            out, lse, kv = carry
            # first: the next keys travel while these are seen
            arriving = self._on(kv)
            return (*see(out, lse, kv, hop), arriving), None

        B, N, heads, _ = q.shape
        nothing = jnp.zeros(q.shape), jnp.full((B, heads, N), -jnp.inf)
        hops = jnp.arange(self.size - 1)
        (out, lse, kv), _ = jax.lax.scan(step, (*nothing, (k, v)), hops)
        return see(out, lse, kv, self.size - 1)

    def backward(
        self,
        q: Array,
        k: Array,
        v: Array,
        query_ids: Any,
        key_ids: Any,
        d_out: Array,
        lse: Array,
        delta: Array,
    ) -> tuple[Array, Array, Array]:
        ids = self._ids(query_ids, 0, q.shape[1])

        def see(kv: tuple[Array, Array], hop: Any) -> tuple[Array, Array, Array]:
            there = self._ids(key_ids, hop, k.shape[1])
            grads = self.passes.backward(q, kv[0], kv[1], ids, there, d_out, lse, delta)
            # float32: sums over the whole ring
            d_q, d_k, d_v = (grad.astype(jnp.float32) for grad in grads)
            return d_q, d_k, d_v

        def visit(carry: tuple, hop: Any) -> tuple:
            """Leaves the keys here and sends their gradients ahead to the next."""
            kv, (d_k, d_v), d_q = carry
            d_q_part, d_k_part, d_v_part = see(kv, hop)
            return kv, self._on((d_k + d_k_part, d_v + d_v_part)), d_q + d_q_part

        def step(carry: tuple, hop: Array) -> tuple:
            arriving = self._on(carry[0])
            return (arriving, *visit(carry, hop)[1:]), None

        # its own part stays: the others' gradients come home after size - 1 hops too
        d_q, d_k_home, d_v_home = see((k, v), 0)
        carry = self._on((k, v)), (jnp.zeros(k.shape), jnp.zeros(v.shape)), d_q
        carry, _ = jax.lax.scan(step, carry, jnp.arange(1, self.size - 1))
        _, (d_k, d_v), d_q = visit(carry, self.size - 1)
        return d_q, d_k_home + d_k, d_v_home + d_v

    def _on(self, arrays: tuple) -> tuple:
        """To the next device of the ring."""
        devices = self.size * self.stride
        pairs = [(i, (i + self.stride) % devices) for i in range(devices)]
        return jax.lax.ppermute(arrays, self.axis, pairs)

    def _ids(self, ids: Any, hop: Any, length: int) -> Any:
        """Of the chunk that is here at this hop."""
        if ids is None:
            return None
        chunk = jax.lax.axis_index(self.axis) // self.stride - hop
        start = chunk % self.size * length
        return jax.lax.dynamic_slice_in_dim(ids, start, length, axis=1)


def join(out: Array, lse: Array, part: Array, part_lse: Array) -> tuple[Array, Array]:
    """Two results [B, N, heads, head_dim], [B, heads, N] over other keys as one."""
    both = jnp.logaddexp(lse, part_lse)

    def weight(of: Array) -> Array:
        return jnp.swapaxes(jnp.exp(of - both), 1, 2)[..., None]

    return weight(lse) * out + weight(part_lse) * part.astype(jnp.float32), both
