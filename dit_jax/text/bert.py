"""BERT's encoder as a pure function of a checkpoint's own tensors.

x = norm(words + positions + type 0), then in every layer

    x = norm(x + attention(x))        softmax(q k' / sqrt(head width)) v, all to all
    x = norm(x + mlp(x))              exact (erf) GELU

with learned absolute positions and layer norms of eps 1e-12. Parameters keep the names
and the [out, in] layout of the checkpoint. Devlin et al. 2018, arXiv:1810.04805.
"""

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from dit_jax.errors import DataError

EPSILON = 1e-12
# float32 products on accelerators too: the published numbers are of float32.
EXACT = jax.lax.Precision.HIGHEST
Params = dict[str, Any]
LAYER = re.compile(r"encoder\.layer\.(\d+)\.(.+)")
EMBEDDINGS = tuple(
    f"embeddings.{name}"
    for name in (
        "word_embeddings.weight",
        "position_embeddings.weight",
        "token_type_embeddings.weight",
        "LayerNorm.weight",
        "LayerNorm.bias",
    )
)
LAYER_PARTS = tuple(
    f"{part}.{kind}"
    for part in (
        "attention.self.query",
        "attention.self.key",
        "attention.self.value",
        "attention.output.dense",
        "attention.output.LayerNorm",
        "intermediate.dense",
        "output.dense",
        "output.LayerNorm",
    )
    for kind in ("weight", "bias")
)


def params_of(tensors: Mapping[str, np.ndarray]) -> Params:
    """The parameters among a checkpoint's tensors, layers stacked in front.

    Other tensors (heads, a pooler) are left out. DataError for a missing one, by name.
    """
    tensors = {name.removeprefix("bert."): value for name, value in tensors.items()}
    depth = 1 + max((int(m[1]) for m in map(LAYER.match, tensors) if m), default=0)

    def take(name: str) -> np.ndarray:
        if name not in tensors:
            raise DataError(f"it has no tensor {name}, so it is no BERT")
        return np.asarray(tensors[name], np.float32)

    layers = {
        part: np.stack([take(f"encoder.layer.{i}.{part}") for i in range(depth)])
        for part in LAYER_PARTS
    }
    return {name: take(name) for name in EMBEDDINGS} | {"layers": layers}


def encode(
    params: Params,
    ids: Int[Array, "B L"],
    mask: Int[Array, "B L"],
    *,
    num_heads: int,
) -> Float[Array, "B L E"]:
    """The last layer's tokens, float32. mask: 1 where there is a token; the others are
    attended to by none, and what stands at their place means nothing."""
    words, positions, types, *_ = (params[name] for name in EMBEDDINGS)
    x = words[ids] + positions[None, : ids.shape[1]] + types[None, :1]
    x = _norm(params, "embeddings.LayerNorm", x)

    def layer(x: Array, own: Params) -> tuple[Array, None]:
        attended = _attention(own, x, mask, num_heads)
        x = _norm(own, "attention.output.LayerNorm", x + attended)
        hidden = jax.nn.gelu(_linear(own, "intermediate.dense", x), approximate=False)
        mixed = _linear(own, "output.dense", hidden)
        return _norm(own, "output.LayerNorm", x + mixed), None

    return jax.lax.scan(layer, x, params["layers"])[0]


def mean_pooled(
    tokens: Float[Array, "B L E"], mask: Int[Array, "B L"]
) -> Float[Array, "B E"]:
    """The mean over the tokens that are there, brought to unit length."""
    weights = mask[..., None].astype(tokens.dtype)
    mean = (tokens * weights).sum(1) / jnp.maximum(weights.sum(1), 1)
    return mean / jnp.maximum(jnp.linalg.norm(mean, axis=1, keepdims=True), 1e-12)


def _attention(
    own: Params, x: Float[Array, "B L E"], mask: Int[Array, "B L"], num_heads: int
) -> Float[Array, "B L E"]:
    def heads(name: str) -> Float[Array, "B L heads d"]:
        y = _linear(own, f"attention.self.{name}", x)
        return y.reshape(*y.shape[:2], num_heads, -1)

    q, k, v = heads("query"), heads("key"), heads("value")
    scores = jnp.einsum("blhd,bmhd->bhlm", q, k, precision=EXACT)
    scores = scores / np.float32(np.sqrt(q.shape[-1]))
    # finite: a row without any token, which fills a batch, must not become NaN
    scores = jnp.where(mask[:, None, None] != 0, scores, -1e30)
    shares = jax.nn.softmax(scores, axis=-1)
    out = jnp.einsum("bhlm,bmhd->blhd", shares, v, precision=EXACT)
    return _linear(own, "attention.output.dense", out.reshape(x.shape))


def _linear(own: Params, name: str, x: Float[Array, "B L n"]) -> Float[Array, "B L m"]:
    y = jnp.einsum("bln,mn->blm", x, own[f"{name}.weight"], precision=EXACT)
    return y + own[f"{name}.bias"][None, None]


def _norm(own: Params, name: str, x: Float[Array, "B L E"]) -> Float[Array, "B L E"]:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + EPSILON)
    weight, bias = own[f"{name}.weight"], own[f"{name}.bias"]
    return scaled * weight[None, None] + bias[None, None]
