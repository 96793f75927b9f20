"""How blocks follow each other."""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, Float

from dit_jax import types
from dit_jax.models.attention import Scene


class Straight(nnx.Module):
    """Equal blocks one after another, compiled once and scanned over.

    The blocks' parameters are stacked on a leading `layers` dim.
    remat: recompute a block's inside in the backward pass instead of keeping it.
    """

    def __init__(
        self,
        make_block: Callable[..., nnx.Module],
        *,
        depth: int,
        remat: bool,
        constrain: types.Constrain,
        rngs: nnx.Rngs,
    ):
        @nnx.split_rngs(splits=depth)
        @nnx.vmap(transform_metadata={nnx.PARTITION_NAME: "layers"})
        def build(rngs: nnx.Rngs) -> nnx.Module:
            return make_block(rngs=rngs)

        self.blocks = build(rngs)
        self.remat = remat
        self.constrain = constrain

    def __call__(
        self,
        x: Float[Array, "B N D"],
        modulations: Float[Array, "L B parts D"],
        scene: Scene,
    ) -> Float[Array, "B N D"]:
        graphdef, layers = nnx.split(self.blocks)

        def one_block(x: Array, layer: tuple[Any, Array]) -> tuple[Array, None]:
            params, modulation = layer
            x = nnx.merge(graphdef, params)(x, modulation, scene)
            return self.constrain(x, ("batch", "tokens", "embed")), None

        if self.remat:
            # prevent_cse costs speed and is not needed under scan
            one_block = jax.checkpoint(one_block, prevent_cse=False)
        return jax.lax.scan(one_block, x, (layers, modulations))[0]
