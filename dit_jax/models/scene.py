"""What a layer may see beside its own tokens."""

import dataclasses

import jax
from jaxtyping import Array, Bool, Float, Int

from dit_jax.models.positions import Triple


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Scene:
    """grid: patch tokens along (T, H, W), a compile-time constant.

    num_extra: tokens in front of the patches (labels, times, text), also constant.
    segment_ids: which tokens belong together; None is one clip a row.
    context, context_mask: what cross-attention reads; True where there is something.
    layer: the number of the block, counted from 0.
    """

    grid: Triple = dataclasses.field(metadata={"static": True})
    num_extra: int = dataclasses.field(default=0, metadata={"static": True})
    segment_ids: Int[Array, "B N"] | None = None
    context: Float[Array, "B L D"] | None = None
    context_mask: Bool[Array, "B L"] | None = None
    layer: Int[Array, ""] | None = None
