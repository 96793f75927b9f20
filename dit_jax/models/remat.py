"""What a layer keeps for its backward pass, and what it computes again.

A policy wraps one layer of a stack, `(x, layer) -> x`. Bytes kept per token and layer,
for width D and H heads in bfloat16 (arXiv:1604.06174 for the idea):

    none         the results of matrix products and of attention, about 22 D, and the
                 weights of an attention that writes them: only norms, modulation and
                 GELU run again, which costs less than to keep them
    full         the layer's input, 2 D; the layer runs again, 4/3 of the work
    attention    and the attention's output and log-sum-exp, 4 D + 4 H: all but the
                 attention itself runs again
    offload      as `attention`, in the memory of the host
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from jax.ad_checkpoint import checkpoint_name
from jax.extend.core import Primitive
from jaxtyping import Array

from dit_jax.models.attention import SAVED_WEIGHTS
from dit_jax.models.passes import SAVED_LSE, SAVED_OUT

Layer = Callable[[Array, Any], Array]
Policy = Callable[..., Any]  # as `jax.checkpoint` takes it

INPUT = "layer_input"

CUDNN = "dot_product_attention_fwd_wrapper"  # which names nothing of its results
PRODUCTS = ("dot_general", "all_to_all")

_named = jax.checkpoint_policies.save_only_these_names(SAVED_OUT, SAVED_LSE)
_written = jax.checkpoint_policies.save_only_these_names(
    SAVED_OUT, SAVED_LSE, SAVED_WEIGHTS
)
_offloaded = jax.checkpoint_policies.save_and_offload_only_these_names(
    names_which_can_be_saved=[SAVED_LSE],
    names_which_can_be_offloaded=[INPUT, SAVED_OUT],
    offload_src="device",
    offload_dst="pinned_host",
)


def _saving(policy: Policy, *primitives: str) -> Policy:
    """`policy`, but what these primitives give is kept, on the device."""

    def wider(primitive: Primitive, *avals: Any, **params: Any) -> Any:
        return primitive.name in primitives or policy(primitive, *avals, **params)

    return wider


def _checkpoint(layer: Layer, *, policy: Policy | None) -> Layer:
    def named(x: Array, given: Any) -> Array:
        return layer(checkpoint_name(x, INPUT), given)

    # prevent_cse costs speed and is not needed under scan
    return jax.checkpoint(named, prevent_cse=False, policy=policy)


REMATS: dict[str, Callable[[Layer], Layer]] = {
    "none": partial(_checkpoint, policy=_saving(_written, *PRODUCTS, CUDNN)),
    "full": partial(_checkpoint, policy=None),
    "attention": partial(_checkpoint, policy=_saving(_named, CUDNN)),
    "offload": partial(_checkpoint, policy=_saving(_offloaded, CUDNN)),
}
OF_ATTENTION = ("attention", "offload")  # policies that keep what attention names
