"""What a model costs, counted off the model itself: parameters and multiply-adds.

Multiply-adds (MACs) are those of the matrix products and convolutions of the traced
forward pass, so the count cannot disagree with the code. One MAC is two floating-point
operations; norms, softmax and activations are not counted, nor is recomputation in the
backward pass. A published "GFLOPs" of the DiT family is a count of multiply-adds.

Parts are named by the scopes that the model opens: embedding, conditioning, a block's
branches by name, `scores` inside attention, head.
"""

import collections
import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from dit_jax import types
from dit_jax.models.designs import Model

BLOCKS = ("blocks", "blocks_in", "middle", "blocks_out")


@dataclasses.dataclass(frozen=True)
class Cost:
    """params: exact number of parameters, by part. macs: forward multiply-adds of one
    example, by part. num_tokens: patches of one example. repeated_macs: what the
    reference implementation computes again and this one does not."""

    params: dict[str, int]
    macs: dict[str, int]
    num_tokens: int
    repeated_macs: int = 0

    @property
    def num_params(self) -> int:
        return sum(self.params.values())

    @property
    def forward_macs(self) -> int:
        return sum(self.macs.values())

    @property
    def published_macs(self) -> int:
        """Forward multiply-adds as a count of the reference implementation has them."""
        return self.forward_macs + self.repeated_macs

    @property
    def train_flops(self) -> int:
        """One example forward and backward: 3 x forward, 2 operations a MAC."""
        return 6 * self.forward_macs


def cost(
    model: Model, latent_shape: tuple[int, int, int, int], given_frames: int = 0
) -> Cost:
    """model: may be abstract; nothing is allocated or computed.

    given_frames: of the latent frames, those that the model is told.
    """
    graphdef, state = nnx.split(model)
    frames, height, width, channels = latent_shape
    given = None
    if given_frames:
        shape = (1, given_frames, height, width, channels)
        given = jax.ShapeDtypeStruct(shape, jnp.float32)

    def forward(state: Any, x: Any, t: Any, given: Any) -> Any:
        told = types.Conditioning(frames=given)
        return nnx.merge(graphdef, state)(x, t, told)

    x, t = model.inputs((frames - given_frames, height, width, channels))
    traced = jax.make_jaxpr(forward)(state, x, t, given)
    macs: collections.Counter[str] = collections.Counter()
    for part, count in _products(traced.jaxpr, ()):
        macs[part] += count
    return Cost(
        params=_params_by_part(nnx.to_pure_dict(state)),
        macs=dict(macs),
        num_tokens=math.prod(
            length // step
            for length, step in zip(latent_shape, model.patch, strict=False)
        ),
    )


def _params_by_part(params: dict[str, Any]) -> dict[str, int]:
    counts: collections.Counter[str] = collections.Counter()
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        names = [key.key for key in path]
        inside = names[0] == "stack" and names[1] in BLOCKS
        counts[names[2] if inside else names[0]] += math.prod(leaf.shape)
    return dict(counts)


def _products(jaxpr: Any, scope: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    """(part, multiply-adds) of every product, inside loops as often as they run."""
    for equation in jaxpr.eqns:
        here = (*scope, *_names(equation))
        name, given = equation.primitive.name, equation.params
        out = equation.outvars[0].aval.shape if equation.outvars else ()
        if name == "dot_general":
            (contracted, _), _ = given["dimension_numbers"]
            left = equation.invars[0].aval.shape
            yield (
                "/".join(here),
                math.prod(out) * math.prod(left[i] for i in contracted),
            )
        elif name == "conv_general_dilated":
            numbers = given["dimension_numbers"]
            kernel = equation.invars[1].aval.shape
            outputs = kernel[numbers.rhs_spec[0]]
            yield "/".join(here), math.prod(out) * math.prod(kernel) // outputs
        times = given["length"] if name == "scan" else 1
        for inner in _inner(given):
            for part, count in _products(inner, here):
                yield part, times * count


def _names(equation: Any) -> list[str]:
    stack = str(equation.source_info.name_stack)
    return [name for name in stack.split("/") if name.isidentifier()]


def _inner(given: dict[str, Any]) -> Iterator[Any]:
    """The programs inside an equation: of loops, calls and checkpoints."""
    for value in given.values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            if hasattr(item, "eqns"):
                yield item
            elif hasattr(getattr(item, "jaxpr", None), "eqns"):
                yield item.jaxpr
