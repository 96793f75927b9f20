"""The shared vocabulary: what a batch holds and what a denoiser is told.

Letters: B batch, T H W latent frames, height, width, C channels, N tokens, D model
width. `mask` is 1 where the model must generate and 0 where the latent is given.
"""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import jax
from jaxtyping import Array, Float, Int

if TYPE_CHECKING:
    Leaf = jax.Array
else:
    Leaf = Any  # on a device, on the host, or only a shape and a dtype

Attention = Callable[..., Array]
"""`(q, k, v, segment_ids or None) -> out`, see `models/attention.py`."""

PADDED = -(2**31)
"""The segment of tokens that only fill up a length; no other token may have it."""

DenoiseFn = Callable[[Array, Array, "Conditioning"], Array]
"""`(xt, t, conditioning) -> prediction`; knows no noise schedule."""


class Constrain:
    """Where the arrays of a model lie, by the logical names of their dims.

    This one is a single device's: it leaves everything where it is.
    """

    def __call__(self, x: Array, dims: tuple[str | None, ...]) -> Array:
        """An activation in its place."""
        del dims
        return x

    def gather(self, weight: Array, dims: tuple[str | None, ...]) -> Array:
        """A sharded weight as products need it; its gradient is sharded again."""
        del dims
        return weight

    def attention(self, attention: Attention) -> Attention:
        """The attention function where tokens and heads are spread over devices."""
        return attention


keep_placement = Constrain()


@runtime_checkable
class Passes(Protocol):
    """The forward and the backward pass of an attention, one apart from the other.

    q, d_out [B, N, heads, head_dim] see k, v [B, M, heads, head_dim] where their
    segments query_ids [B, N] and key_ids [B, M] are equal (both None: everywhere), and
    M tokens may be a part of all that q sees: the backward pass is told the log-sum-exp
    and delta = sum(out * d_out), both [B, heads, N] float32, over everything, and its
    d_q is this part's share. Hashable, for it is a constant of compiled programs.
    """

    def forward(
        self, q: Array, k: Array, v: Array, query_ids: Any, key_ids: Any
    ) -> tuple[Array, Array]:
        """out and lse; rows that see nothing have any out and an lse below -1e29."""

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
        """d_q, d_k, d_v, float32 or the dtype of q, k, v."""


@runtime_checkable
class Form(Protocol):
    """An attention function that knows what a mesh must know of it.

    passes: what a ring calls for every part of the keys; None if they cannot be had.
    splits: whether XLA can split it over batch and heads without being told.
    """

    passes: Passes | None
    splits: bool

    def on(self, device: jax.Device) -> "Form":
        """The form for this kind of device; UserError if it does not run there."""

    def over(self, passes: Passes) -> Attention:
        """The attention function, with its gradient, of other passes."""

    def __call__(
        self, q: Array, k: Array, v: Array, segment_ids: Any = None
    ) -> Array: ...


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Conditioning:
    """What a denoiser is told beside the noisy latents; absent parts are None.

    label: class of each example; `num_classes` is the null class of guidance. frames:
    clean latent frames that come before those to be generated. All leaves may have a
    leading dim of microbatches.
    """

    label: Int[Leaf, "*micro B"] | None = None
    text: Float[Leaf, "*micro B L E"] | None = None
    text_mask: Int[Leaf, "*micro B L"] | None = None
    pooled: Float[Leaf, "*micro B E"] | None = None
    mask: Float[Leaf, "*micro B T H W 1"] | None = None
    fps: Float[Leaf, "*micro B"] | None = None
    frames: Float[Leaf, "*micro B K H W C"] | None = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
    """One training batch. Latents are normalised by the codec's spec, float32."""

    latents: Float[Leaf, "B T H W C"]
    example_id: Int[Leaf, " B"]
    label: Int[Leaf, " B"] | None = None
    text: Float[Leaf, "B L E"] | None = None
    text_mask: Int[Leaf, "B L"] | None = None
    pooled: Float[Leaf, "B E"] | None = None
    mask: Float[Leaf, "B T H W 1"] | None = None
    fps: Float[Leaf, " B"] | None = None
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def conditioning(self) -> Conditioning:
        """The part of the batch that a denoiser may see."""
        return Conditioning(
            label=self.label,
            text=self.text,
            text_mask=self.text_mask,
            pooled=self.pooled,
            mask=self.mask,
            fps=self.fps,
        )
