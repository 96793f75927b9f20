"""Attention on a mesh: rows over data and fsdp, tokens over context, heads over tensor.

The context axis of K devices is ulysses x ring: neighbours exchange tokens for heads
(Ulysses, arXiv:2309.14509: each then has a part of the heads and all tokens of its ring
step), and the ring steps pass keys and values around (`ring`). Both composed:
arXiv:2405.07719.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from dit_jax import types
from dit_jax.errors import UserError
from dit_jax.parallel.ring import Ring
from dit_jax.parallel.sharding import spec


def on_mesh(attention: types.Attention, mesh: Mesh, ring: int = 1) -> types.Attention:
    """`attention` for arrays that are spread over `mesh`; same type, same numbers.

    ring: how many of the context axis's devices form a ring, a divisor of its size; 1
    is Ulysses alone, the whole axis a ring alone. The mesh's devices need not be here.
    UserError if the form does not run on them or cannot go round a ring.
    """
    if isinstance(attention, types.Form):
        attention = attention.on(mesh.devices.flat[0])
    context = mesh.shape["context"]
    if ring < 1 or context % ring:
        raise UserError(
            f"mesh.ring is {ring}, which does not divide mesh.context = {context}; "
            "change mesh.ring or mesh.context"
        )
    splits = isinstance(attention, types.Form) and attention.splits
    if mesh.size == 1 or (splits and context == 1):
        return attention
    ulysses = context // ring
    inside = _around(attention, ring, stride=ulysses) if ring > 1 else attention
    return Spread(Exchange(inside, ulysses, ring), mesh)


def check_heads(num_heads: int, sizes: Mapping[str, int], ring: int) -> None:
    """UserError where devices that exchange heads would not get equally many.

    sizes: of the mesh axes. ring: how many of context's devices exchange none.
    """
    tensor, context = sizes["tensor"], sizes["context"]
    if num_heads % (tensor * context // ring) == 0:
        return
    rings = (r for r in range(1, context + 1) if context % r == 0)
    works = [r for r in rings if num_heads % (tensor * context // r) == 0]
    remedy = f"set mesh.ring={works[0]}" if works else "change mesh.tensor"
    raise UserError(
        f"model.num_heads is {num_heads}, which mesh.tensor={tensor} times "
        f"mesh.context={context} / mesh.ring={ring} does not divide, the devices that "
        f"exchange heads; change model.num_heads or {remedy}"
    )


def _around(attention: types.Attention, size: int, stride: int) -> types.Attention:
    if not isinstance(attention, types.Form) or attention.passes is None:
        name = getattr(attention, "name", attention)
        raise UserError(
            f"mesh.ring is {size}, but model.attention {name!r} cannot be computed for "
            "a part of the keys; set mesh.ring=1 or model.attention=chunked"
        )
    return attention.over(Ring(attention.passes, "context", size, stride))


@dataclasses.dataclass(frozen=True)
class Exchange:
    """Runs on each device of the context axis: tokens for heads, attention, and back.

    Ids are those of all tokens, whole on every device.
    """

    attention: types.Attention
    ulysses: int
    ring: int

    def __call__(self, q: Array, k: Array, v: Array, ids: Any = None) -> Array:
        if self.ulysses == 1:
            return self.attention(q, k, v, ids)
        q, k, v = (self._exchange(x, split=2, join=1) for x in (q, k, v))
        return self._exchange(self.attention(q, k, v, ids), split=1, join=2)

    def _exchange(self, x: Array, *, split: int, join: int) -> Array:
        groups = [
            [step * self.ulysses + place for place in range(self.ulysses)]
            for step in range(self.ring)
        ]
        whole = self.ring == 1
        return jax.lax.all_to_all(
            x,
            "context",
            split_axis=split,
            concat_axis=join,
            tiled=True,
            axis_index_groups=None if whole else groups,
        )


@dataclasses.dataclass(frozen=True)
class Spread:
    """Attention of whole arrays, cut into one part a device.

    Any number of rows and tokens: both are filled up to what the axes divide, tokens
    with a segment of their own, and cut off again.
    """

    local: Exchange
    mesh: Mesh

    def __call__(
        self,
        q: Float[Array, "B N heads head_dim"],
        k: Float[Array, "B N heads head_dim"],
        v: Float[Array, "B N heads head_dim"],
        segment_ids: Int[Array, "B N"] | None = None,
    ) -> Float[Array, "B N heads head_dim"]:
        rows, length, heads, _ = q.shape
        check_heads(heads, self.mesh.shape, self.local.ring)
        add_rows = -rows % (self.mesh.shape["data"] * self.mesh.shape["fsdp"])
        add_tokens = -length % self.mesh.shape["context"]
        added = ((0, add_rows), (0, add_tokens))
        if add_tokens and segment_ids is None:
            segment_ids = jnp.zeros((rows, length), jnp.int32)
        if segment_ids is not None:
            segment_ids = jnp.pad(segment_ids, added, constant_values=types.PADDED)
        q, k, v = (jnp.pad(x, (*added, (0, 0), (0, 0))) for x in (q, k, v))
        tokens = spec(("batch", "tokens", "heads", None))
        # ids are whole along the tokens: every device reads those of all chunks
        ids = None if segment_ids is None else spec(("batch", None))
        # check_vma: Pallas kernels cannot say along which axes their outputs vary
        spread = jax.shard_map(
            self.local,
            mesh=self.mesh,
            in_specs=(tokens, tokens, tokens, ids),
            out_specs=tokens,
            check_vma=False,
        )
        return spread(q, k, v, segment_ids)[:rows, :length]
