"""Attention by cuDNN's fused kernels, for NVIDIA GPUs."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dit_jax.errors import UserError
from dit_jax.models.forms import Form
from dit_jax.types import PADDED

DTYPES = (jnp.bfloat16, jnp.float16)
REMEDY = "change model.attention to chunked or xla"


@dataclasses.dataclass(frozen=True)
class Cudnn:
    """The function; largest_head: 256 since Hopper, 128 before.

    float16 or bfloat16, head widths that are multiples of 8. Segments become a mask
    [B, 1, N, N], whose memory grows with tokens squared.
    """

    largest_head: int = 256

    def __call__(
        self,
        q: Float[Array, "B N heads head_dim"],
        k: Float[Array, "B N heads head_dim"],
        v: Float[Array, "B N heads head_dim"],
        segment_ids: Int[Array, "B N"] | None = None,
    ) -> Float[Array, "B N heads head_dim"]:
        self.check(q)
        length, odd = q.shape[1], ((0, 0), (0, q.shape[1] % 2))
        # JAX refuses to differentiate the kernels at odd numbers of tokens
        q, k, v = (jnp.pad(x, (*odd, (0, 0), (0, 0))) for x in (q, k, v))
        seen: dict[str, Any] = {}
        if segment_ids is not None:
            ids = jnp.pad(segment_ids, odd, constant_values=PADDED)
            seen["mask"] = ids[:, None, :, None] == ids[:, None, None, :]
        elif length % 2:
            lengths = jnp.full(len(q), length, jnp.int32)
            seen |= {"query_seq_lengths": lengths, "key_value_seq_lengths": lengths}
        out = jax.nn.dot_product_attention(q, k, v, **seen, implementation="cudnn")
        return out[:, :length]

    def check(self, q: Array) -> None:
        """UserError for what cuDNN cannot do."""
        if q.dtype not in DTYPES:
            raise UserError(
                f"model.attention is 'cudnn', which computes in bfloat16 or float16, "
                f"but model.dtype is {q.dtype}; change model.dtype or {REMEDY}"
            )
        width = q.shape[-1]
        if width % 8 or width > self.largest_head:
            raise UserError(
                "model.attention is 'cudnn', which takes head widths that are "
                f"multiples of 8 up to {self.largest_head} on this GPU, but they are "
                f"{width}; change model.num_heads or {REMEDY}"
            )


def _fit(form: Form, device: jax.Device) -> Form:
    # devices of a topology do not say what they can do
    capability = float(getattr(device, "compute_capability", None) or "9.0")
    return dataclasses.replace(form, function=Cudnn(256 if capability >= 9 else 128))


CUDNN = Form("cudnn", Cudnn(), platforms=("gpu",), fit=_fit)
