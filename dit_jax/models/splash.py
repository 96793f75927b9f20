"""Attention by JAX's Pallas kernels for the TPU, "splash" attention.

The kernels know neither scale nor batch, want whole blocks of tokens, and come with a
gradient of their own; here they are the two passes of an attention, so that a part of
the keys can be visited with the log-sum-exp over all of them.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.splash_attention import (
    splash_attention_kernel as kernels,
)
from jax.experimental.pallas.ops.tpu.splash_attention import (
    splash_attention_mask_info as masks,
)
from jaxtyping import Array, Float, Int

from dit_jax.models.forms import EVERYWHERE, Form, of_passes
from dit_jax.models.splash_blocks import Cut, Sizes, sizes_for

ALL_BLOCKS = masks.MaskInfo(None, None, None, None, None)  # none is left out

Queries = Float[Array, "B N heads head_dim"]
Keys = Float[Array, "B M heads head_dim"]
Rows = Float[Array, "B heads N"]
QueryIds = Int[Array, "B N"] | None
KeyIds = Int[Array, "B M"] | None


def splash(*, interpret: bool = False) -> Form:
    """The form for TPUs, or with `interpret` (slow, for tests) for every device."""
    platforms = EVERYWHERE if interpret else ("tpu",)
    passes = Splash(interpret=interpret)
    return of_passes("splash", passes, platforms=platforms, fit=_fit)


def _fit(form: Form, device: jax.Device) -> Form:
    assert isinstance(form.passes, Splash)
    passes = dataclasses.replace(form.passes, chip=device.device_kind)
    return of_passes(form.name, passes, platforms=form.platforms, fit=form.fit)


@dataclasses.dataclass(frozen=True)
class Splash:
    """The passes. chip: the `device_kind` whose block sizes are taken, unless `sizes`
    gives them. interpret: run the kernels as plain JAX."""

    chip: str = ""
    sizes: Sizes | None = None
    interpret: bool = False

    def forward(
        self, q: Queries, k: Keys, v: Keys, query_ids: QueryIds, key_ids: KeyIds
    ) -> tuple[Queries, Rows]:
        cut = Cut.of(self._sizes(q).forward, q.shape[1], k.shape[1])
        ids = cut.ids(query_ids, key_ids, q.shape[0])
        kernel = kernels.SplashAttentionKernel(
            ALL_BLOCKS,
            None,
            None,
            block_sizes=kernels.BlockSizes(cut.query, cut.key, cut.compute),
            save_residuals=True,
            residual_checkpoint_name=None,
            **self._settings(),
        )
        arrays = cut.queries(_scaled(q)), cut.keys(k), cut.keys(v), _segments(ids)
        out, (lse,) = jax.vmap(kernel)(*arrays)
        return jnp.swapaxes(out, 1, 2)[:, : q.shape[1]], lse[..., : q.shape[1]]

    def backward(
        self,
        q: Queries,
        k: Keys,
        v: Keys,
        query_ids: QueryIds,
        key_ids: KeyIds,
        d_out: Queries,
        lse: Rows,
        delta: Rows,
    ) -> tuple[Queries, Keys, Keys]:
        cut = Cut.of(self._sizes(q).backward, q.shape[1], k.shape[1])
        ids = cut.ids(query_ids, key_ids, q.shape[0])
        queries, d_out = cut.queries(_scaled(q)), cut.queries(d_out)
        lse, delta = cut.rows(lse), cut.rows(delta)
        kernel = jax.vmap(partial(self._backward_kernel, cut))

        def visit(d_q: Array, stripe: tuple) -> tuple[Array, tuple[Array, Array]]:
            k, v, stripe_ids = stripe
            here = None if ids is None else (ids[0], stripe_ids)
            share, d_k, d_v = kernel(queries, k, v, here, lse, d_out, delta)
            return d_q + share.astype(jnp.float32), (d_k, d_v)

        stripes = (
            *(cut.stripes(cut.keys(x), axis=2) for x in (k, v)),
            None if ids is None else cut.stripes(ids[1], axis=1),
        )
        d_q, d_kv = jax.lax.scan(visit, jnp.zeros(queries.shape), stripes)
        d_q = jnp.swapaxes(d_q, 1, 2)[:, : q.shape[1]] * q.shape[-1] ** -0.5
        return d_q, cut.joined(d_kv[0]), cut.joined(d_kv[1])

    def _backward_kernel(
        self,
        cut: Cut,
        q: Array,
        k: Array,
        v: Array,
        ids: tuple[Array, Array] | None,
        *rest: Array,
    ) -> tuple[Array, Array, Array]:
        """d_q, d_k, d_v of one row; rest: lse, d_out, delta.

        Private to JAX, for its public gradient knows the lse of these keys alone.
        """
        minor = kernels.QKVLayout.HEAD_DIM_MINOR
        return kernels._splash_attention_bwd_dkv(
            q,
            k,
            v,
            _segments(ids),
            None,
            *rest,
            bq=cut.query,
            bkv=cut.key,
            bkv_compute=cut.compute,
            mask_info=ALL_BLOCKS,
            use_fused_bwd_kernel=True,
            q_layout=minor,
            k_layout=minor,
            v_layout=minor,
            **self._settings(),
        )

    def _settings(self) -> dict:
        """What both kernels are told alike."""
        return {
            "is_mqa": False,
            "mask_value": kernels.DEFAULT_MASK_VALUE,
            "attn_logits_soft_cap": None,
            "mask_function": None,
            "interpret": self.interpret,
        }

    def _sizes(self, q: Array) -> Sizes:
        return self.sizes or sizes_for(self.chip, q.shape[-1], q.dtype.itemsize)


def _scaled(q: Queries) -> Queries:
    return (q.astype(jnp.float32) * q.shape[-1] ** -0.5).astype(q.dtype)


def _segments(ids: tuple[Array, Array] | None) -> kernels.SegmentIds | None:
    return None if ids is None else kernels.SegmentIds(*ids)
