"""What a layer keeps for its backward pass, and what it computes again.

A policy wraps one layer of a stack, `(x, layer) -> x`. Bytes kept per token and layer,
for width D and H heads in bfloat16 (arXiv:1604.06174 for the idea):

    none         everything that the backward pass reads, about 36 D
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
from jaxtyping import Array

from dit_jax.models.passes import SAVED_LSE, SAVED_OUT

Layer = Callable[[Array, Any], Array]

INPUT = "layer_input"
WEIGHT = "gathered_weight"

# A gathered weight is never kept: the layers' together would be the whole model.
_keep = jax.checkpoint_policies.save_anything_except_these_names(WEIGHT)
_save = jax.checkpoint_policies.save_only_these_names(SAVED_OUT, SAVED_LSE)
_offload = jax.checkpoint_policies.save_and_offload_only_these_names(
    names_which_can_be_saved=[SAVED_LSE],
    names_which_can_be_offloaded=[INPUT, SAVED_OUT],
    offload_src="device",
    offload_dst="pinned_host",
)


def _checkpoint(layer: Layer, *, policy: Callable[..., bool] | None) -> Layer:
    def named(x: Array, given: Any) -> Array:
        return layer(checkpoint_name(x, INPUT), given)

    # prevent_cse costs speed and is not needed under scan
    return jax.checkpoint(named, prevent_cse=False, policy=policy)


REMATS: dict[str, Callable[[Layer], Layer]] = {
    "none": partial(_checkpoint, policy=_keep),
    "full": partial(_checkpoint, policy=None),
    "attention": partial(_checkpoint, policy=_save),
    "offload": partial(_checkpoint, policy=_offload),
}
OF_ATTENTION = ("attention", "offload")  # policies that keep what attention names
