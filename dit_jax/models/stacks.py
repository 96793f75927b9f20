"""How blocks are stacked: parts `(x, modulations, scene) -> x`.

Blocks of a stack are equal, compiled once and scanned over; their parameters are
stacked on a leading `layers` dim.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, DTypeLike, Float

from dit_jax import types
from dit_jax.models.primitives import XAVIER, Initializer, linear
from dit_jax.models.remat import Layer
from dit_jax.models.scene import Scene

BlockFactory = Callable[..., nnx.Module]
Remat = Callable[[Layer], Layer]
Modulations = Float[Array, "L B G parts D"]


class Straight(nnx.Module):
    """Blocks one after another.

    phases: block factories that take turns (spatial, temporal, spatial, ...). Their
    parameters have one structure, so that what differs is only what the code does.
    remat: what a block keeps for its backward pass, of `remat.REMATS`.
    """

    def __init__(
        self,
        phases: Sequence[BlockFactory],
        *,
        depth: int,
        remat: Remat,
        dtype: DTypeLike,
        constrain: types.Constrain,
        rngs: nnx.Rngs,
    ):
        self.blocks = stacked(phases[0], depth, rngs)
        self.phases = nnx.static(tuple(_structure(make) for make in phases))
        self.depth, self.remat, self.constrain = depth, remat, constrain
        self.dtype = dtype

    def __call__(
        self, x: Float[Array, "B N D"], modulations: Modulations, scene: Scene
    ) -> Float[Array, "B N D"]:
        steps = [
            _step(phase, self.remat, self.constrain, scene, row=i)
            for i, phase in enumerate(self.phases)
        ]
        blocks = in_dtype(self.blocks, self.dtype)
        layers = (blocks, modulations, jnp.arange(self.depth))
        scanned = self.depth - self.depth % len(steps)

        def one_round(x: Array, layers: Any) -> tuple[Array, None]:
            for step in steps:
                x = step(x, layers)
            return x, None

        # not -1: an unmodulated block's rows are empty
        shape = (scanned // len(steps), len(steps))
        rounds = jax.tree.map(
            lambda leaf: leaf[:scanned].reshape(*shape, *leaf.shape[1:]), layers
        )
        x, _ = jax.lax.scan(one_round, x, rounds)
        last = jax.tree.map(lambda leaf: leaf[scanned:], layers)
        for step in steps[: self.depth - scanned]:  # a round that is not whole
            x = step(x, last)
        return x


class LongSkips(nnx.Module):
    """depth // 2 blocks in, one in the middle, depth // 2 out; U-ViT, arXiv:2209.12152.

    Every out-block starts with a linear map of the stream beside the output of its
    in-block (the last in, the first out), followed by `skip_norm`.
    """

    def __init__(
        self,
        make_block: BlockFactory,
        *,
        depth: int,
        width: int,
        skip_norm: Callable[..., nnx.Module],
        kernel_init: Initializer = XAVIER,
        remat: Remat,
        dtype: DTypeLike,
        constrain: types.Constrain,
        rngs: nnx.Rngs,
    ):
        def merge(rngs: nnx.Rngs) -> nnx.Module:
            return Merge(
                width, skip_norm, kernel_init=kernel_init, dtype=dtype, rngs=rngs
            )

        half = depth // 2
        self.blocks_in = stacked(make_block, half, rngs)
        self.middle = stacked(make_block, 1, rngs)
        self.merges = stacked(merge, half, rngs)
        self.blocks_out = stacked(make_block, half, rngs)
        self.structure = nnx.static(_structure(make_block))
        self.merge_structure = nnx.static(_structure(merge))
        self.depth, self.remat, self.constrain = depth, remat, constrain
        self.dtype = dtype

    def __call__(
        self, x: Float[Array, "B N D"], modulations: Modulations, scene: Scene
    ) -> Float[Array, "B N D"]:
        step = _step(self.structure, self.remat, self.constrain, scene)
        half = (len(modulations) - 1) // 2
        numbers = jnp.arange(len(modulations))

        def layers(blocks: nnx.Module, start: int, stop: int) -> Any:
            params = in_dtype(blocks, self.dtype)
            return params, modulations[start:stop], numbers[start:stop]

        def block_in(x: Array, layer: Any) -> tuple[Array, Array]:
            x = step(x, layer)
            return x, x

        def block_out(x: Array, layer: Any) -> tuple[Array, None]:
            merge, skip, layer = layer
            merge = gathered(merge, self.constrain)
            x = nnx.merge(self.merge_structure, merge)(x, skip)
            return step(x, layer), None

        x, skips = jax.lax.scan(block_in, x, layers(self.blocks_in, 0, half))
        middle = layers(self.middle, half, half + 1)
        x = step(x, _row(middle, 0))
        outs = layers(self.blocks_out, half + 1, len(modulations))
        merges = in_dtype(self.merges, self.dtype)
        return jax.lax.scan(block_out, x, (merges, skips[::-1], outs))[0]


class Merge(nnx.Module):
    """norm(linear(x beside skip))."""

    def __init__(
        self,
        width: int,
        norm: Callable[..., nnx.Module],
        *,
        kernel_init: Initializer,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        self.linear = linear(
            2 * width,
            width,
            ("embed", "stream"),
            kernel_init=kernel_init,
            dtype=dtype,
            rngs=rngs,
        )
        self.norm = norm(rngs=rngs)

    def __call__(
        self, x: Float[Array, "B N D"], skip: Float[Array, "B N D"]
    ) -> Float[Array, "B N D"]:
        both = jnp.concatenate([x, skip], axis=-1)
        return self.norm(self.linear(both)).astype(x.dtype)


def stacked(make: BlockFactory, depth: int, rngs: nnx.Rngs) -> nnx.Module:
    """`depth` modules in one, parameters drawn apart and stacked."""

    @nnx.split_rngs(splits=depth)
    @nnx.vmap(transform_metadata={nnx.PARTITION_NAME: "layers"})
    def build(rngs: nnx.Rngs) -> nnx.Module:
        return make(rngs=rngs)

    return build(rngs)


def in_dtype(blocks: nnx.Module, dtype: DTypeLike) -> nnx.State:
    """The parameters of stacked blocks with the matrices in the compute dtype.

    Cast here, once and while they are sharded, what is gathered in every turn of the
    scan is half as large for bfloat16. Vectors stay float32, as norms need them.
    """

    def cast(leaf: Array) -> Array:
        return leaf.astype(dtype) if leaf.ndim > 2 else leaf

    return jax.tree.map(cast, nnx.state(blocks))


def gathered(params: nnx.State, constrain: types.Constrain) -> nnx.State:
    """The parameters of one layer, brought together where they are sharded."""

    def gather(variable: nnx.Variable) -> nnx.Variable:
        _, *dims = variable.get_metadata("out_sharding")  # without "layers"
        return variable.replace(constrain.gather(variable[...], tuple(dims)))

    return jax.tree.map(
        gather, params, is_leaf=lambda node: isinstance(node, nnx.Variable)
    )


def _row(layers: Any, i: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[i], layers)


def _structure(make: BlockFactory) -> nnx.GraphDef:
    return nnx.split(nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0))))[0]


def _step(
    structure: nnx.GraphDef,
    remat: Remat,
    constrain: types.Constrain,
    scene: Scene,
    row: int | None = None,
) -> Layer:
    """One block as `(x, (parameters, modulation, number)) -> x`.

    row: which of several blocks' it is given. It is taken in here, so that remat keeps
    what the scan is over and not a copy of every row.
    """

    def step(x: Array, given: Any) -> Array:
        params, modulation, number = given if row is None else _row(given, row)
        params = gathered(params, constrain)
        here = dataclasses.replace(scene, layer=number)
        x = nnx.merge(structure, params)(x, modulation, here)
        return constrain(x, ("batch", "tokens", "embed"))

    return remat(step)
