"""What a token attends to: the attention functions of one device and the joint mixer.

An attention function is `(q, k, v, segment_ids or None) -> out`: q, k, v and out are
[B, N, heads, head_dim]; segment_ids [B, N] int32, and tokens attend only to tokens of
their own id. Scores are scaled by head_dim^-0.5; the softmax is float32; the output has
q's dtype. A model receives the function as a constructor argument, so that forms that
run on a mesh can take its place.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, DTypeLike, Float, Int

from dit_jax import types
from dit_jax.models.chunked import HIDDEN, Chunks, chunked
from dit_jax.models.cudnn import CUDNN
from dit_jax.models.forms import Form, of_passes
from dit_jax.models.patterns import Pattern
from dit_jax.models.positions import Triple
from dit_jax.models.primitives import XAVIER, Initializer, linear, product
from dit_jax.models.scene import Scene
from dit_jax.models.splash import splash

SAVED_WEIGHTS = "attention_weights"
LONG = 1024  # tokens
FASTEST = {"tpu": "splash", "gpu": "cudnn"}


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
    weights = _softmax(scores).astype(v.dtype)
    out = jnp.einsum("bhqk,bhkd->bhqd", weights, v, preferred_element_type=jnp.float32)
    return jnp.swapaxes(out, 1, 2).astype(q.dtype)


@jax.custom_vjp
def _softmax(scores: Float[Array, "*B N"]) -> Float[Array, "*B N"]:
    """Over the last dim. For reverse mode only: `jax.jvp` refuses it.

    Its result is named: a backward pass that is given it does not need the scores.
    """
    return jax.nn.softmax(scores, axis=-1)


def _softmax_forward(scores: Array) -> tuple[Array, Array]:
    weights = checkpoint_name(jax.nn.softmax(scores, axis=-1), SAVED_WEIGHTS)
    return weights, weights


def _softmax_backward(weights: Array, d_weights: Array) -> tuple[Array]:
    products = weights * d_weights
    return (products - weights * jnp.sum(products, axis=-1, keepdims=True),)


_softmax.defvjp(_softmax_forward, _softmax_backward)


def plain(
    q: Float[Array, "B N heads head_dim"],
    k: Float[Array, "B N heads head_dim"],
    v: Float[Array, "B N heads head_dim"],
    segment_ids: Int[Array, "B N"] | None = None,
) -> Float[Array, "B N heads head_dim"]:
    """`xla` for short sequences, where it is faster, and `chunked` for long ones."""
    function = xla if q.shape[1] <= LONG else chunked
    return function(q, k, v, segment_ids)


def _of_platform(form: Form, device: jax.Device) -> Form:
    name = FASTEST.get(device.platform)
    return ATTENTIONS[name].on(device) if name else form


FORMS = (
    # the fastest form of the devices at hand
    Form("auto", plain, passes=Chunks(), fit=_of_platform),
    Form("xla", xla, splits=True, writes_scores=True),
    of_passes("chunked", Chunks()),
    splash(),
    CUDNN,
)
ATTENTIONS: dict[str, Form] = {form.name: form for form in FORMS}


class SelfAttention(nnx.Module):
    """Tokens attend to tokens of the same clip, those that `pattern` lets them see.

    norm: the QK-norm's factory `(width, rngs=...)`, such as `RMSNorm` or `NoNorm`.
    norm_width: how many channels are normed together: one head's or all.
    rotary: `(x, grid) -> x` on the patch tokens, see `positions.Rotary`.
    """

    def __init__(
        self,
        *,
        width: int,
        num_heads: int,
        attention: types.Attention,
        pattern: Pattern,
        norm: Callable[..., nnx.Module],
        norm_width: int,
        rotary: Callable[[Array, Triple], Array],
        qkv_bias: bool = True,
        kernel_init: Initializer = XAVIER,
        dtype: DTypeLike,
        constrain: types.Constrain,
        rngs: nnx.Rngs,
    ):
        # columns are (head, qkv, head_dim), so that a shard of them holds whole heads
        make = partial(linear, kernel_init=kernel_init, dtype=dtype, rngs=rngs)
        self.qkv = make(width, 3 * width, ("embed", "heads"), use_bias=qkv_bias)
        self.out = make(width, width, ("heads_in", "stream"))
        self.query_norm = norm(norm_width, rngs=rngs)
        self.key_norm = norm(norm_width, rngs=rngs)
        self.num_heads, self.norm_width = num_heads, norm_width
        self.attention, self.pattern, self.rotary = attention, pattern, rotary
        self.constrain = constrain

    def __call__(self, x: Float[Array, "B N D"], scene: Scene) -> Float[Array, "B N D"]:
        q, k, v = self._project(x)
        q = self._turn(normed(self.query_norm, q, self.norm_width), scene)
        k = self._turn(normed(self.key_norm, k, self.norm_width), scene)
        dims = ("batch", "tokens", "heads", None)
        q, k, v = (self.constrain(part.astype(v.dtype), dims) for part in (q, k, v))
        with jax.named_scope("scores"):
            out = self.pattern(self.attention, q, k, v, scene)
        return self.out(out.reshape(*x.shape[:2], -1))

    def _project(self, x: Float[Array, "B N D"]) -> list[Array]:
        """q, k, v, each [B, N, heads, head_dim].

        Three products with the columns of one weight: cut from one product of all
        columns, each would be copied into its place, and live twice.
        """
        x = x.astype(self.qkv.dtype)
        kernel = self.qkv.kernel[...].astype(x.dtype)
        columns = kernel.reshape(len(kernel), self.num_heads, 3, -1)
        parts = []
        for i in range(3):
            part = product(x, columns[:, :, i].reshape(len(kernel), -1))
            part = part.reshape(*x.shape[:2], self.num_heads, -1)
            if self.qkv.bias is not None:
                bias = self.qkv.bias[...].astype(x.dtype)
                bias = bias.reshape(self.num_heads, 3, -1)[:, i]
                part = part + bias[None, None]
            parts.append(part)
        return parts

    def _turn(self, x: Array, scene: Scene) -> Array:
        """Positions of the patches; extra tokens have none."""
        if not scene.num_extra:
            return self.rotary(x, scene.grid)
        extra, patches = jnp.split(x, [scene.num_extra], axis=1)
        patches = self.rotary(patches, scene.grid)
        return jnp.concatenate([extra.astype(patches.dtype), patches], axis=1)


class CrossAttention(nnx.Module):
    """Tokens attend to the scene's context [B, L, D], where `context_mask` is True.

    A clip without any context gets the projection's bias.
    """

    def __init__(
        self,
        *,
        width: int,
        num_heads: int,
        norm: Callable[..., nnx.Module],
        norm_width: int,
        qkv_bias: bool = True,
        kernel_init: Initializer = XAVIER,
        dtype: DTypeLike,
        constrain: types.Constrain,
        rngs: nnx.Rngs,
    ):
        make = partial(linear, kernel_init=kernel_init, dtype=dtype, rngs=rngs)
        self.query = make(width, width, ("embed", "heads"), use_bias=qkv_bias)
        # columns are (head, kv, head_dim)
        self.key_value = make(width, 2 * width, ("embed", "heads"), use_bias=qkv_bias)
        self.out = make(width, width, ("heads_in", "stream"))
        self.query_norm = norm(norm_width, rngs=rngs)
        self.key_norm = norm(norm_width, rngs=rngs)
        self.num_heads, self.norm_width = num_heads, norm_width
        self.constrain = constrain

    def __call__(self, x: Float[Array, "B N D"], scene: Scene) -> Float[Array, "B N D"]:
        assert scene.context is not None, "the conditioning part gives the context"
        context = scene.context.astype(x.dtype)
        q = self.query(x).reshape(*x.shape[:2], self.num_heads, -1)
        kv = self.key_value(context)
        kv = kv.reshape(*context.shape[:2], self.num_heads, 2, -1)
        k, v = (kv[..., i, :] for i in range(2))
        q = normed(self.query_norm, q, self.norm_width).astype(v.dtype)
        k = normed(self.key_norm, k, self.norm_width).astype(v.dtype)
        q = self.constrain(q, ("batch", "tokens", "heads", None))
        with jax.named_scope("scores"):
            out = over_context(q, k, v, scene.context_mask)
        return self.out(out.reshape(*x.shape[:2], -1))


def over_context(
    q: Float[Array, "B N heads head_dim"],
    k: Float[Array, "B L heads head_dim"],
    v: Float[Array, "B L heads head_dim"],
    mask: Bool[Array, "B L"] | None = None,
) -> Float[Array, "B N heads head_dim"]:
    """Softmax attention to a short sequence; zeros where its mask shows nothing."""
    q, k, v = (jnp.swapaxes(x, 1, 2) for x in (q, k, v))
    scores = jnp.einsum("bhqd,bhkd->bhqk", q, k, preferred_element_type=jnp.float32)
    scores = scores * q.shape[-1] ** -0.5
    if mask is None:
        weights = _softmax(scores)
    else:
        seen = mask[:, None, None]
        weights = jnp.where(seen, _softmax(jnp.where(seen, scores, HIDDEN)), 0)
    out = jnp.einsum("bhqk,bhkd->bhqd", weights.astype(v.dtype), v)
    return jnp.swapaxes(out, 1, 2).astype(q.dtype)


def normed(
    norm: nnx.Module, x: Float[Array, "B N heads head_dim"], width: int
) -> Float[Array, "B N heads head_dim"]:
    """`norm` over runs of `width` channels: one head's, or all heads' together."""
    return norm(x.reshape(*x.shape[:2], -1, width)).reshape(x.shape)


class Followed(nnx.Module):
    """A layer, then one more linear map (VDT's `temporal_fc`)."""

    def __init__(
        self,
        layer: Callable[..., nnx.Module],
        *,
        width: int,
        kernel_init: Initializer,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        self.layer = layer(rngs=rngs)
        self.linear = linear(
            width,
            width,
            ("embed", "stream"),
            kernel_init=kernel_init,
            dtype=dtype,
            rngs=rngs,
        )

    def __call__(self, x: Float[Array, "B N D"], scene: Scene) -> Float[Array, "B N D"]:
        return self.linear(self.layer(x, scene))
