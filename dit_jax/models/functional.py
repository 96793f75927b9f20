"""A model as pure functions of a dict of arrays, the form that training works with.

Parameters are a plain nested dict of float32 arrays, addressable by path such as
`stack/blocks/attention/qkv/kernel`. Everything here works under jit, grad, lax.scan and
eval_shape.
"""

from typing import Any, TypeAlias

import jax
from flax import nnx
from jaxtyping import Array, Float, PyTree

from dit_jax import types
from dit_jax.models import presets

Params = dict[str, Any]
Streams: TypeAlias = PyTree[Float[Array, "..."]]  # a bare array is the tree of one leaf


def split(model: nnx.Module) -> tuple[nnx.GraphDef, Params]:
    """The structure (hashable, equal for equal models) and the parameters."""
    graphdef, state = nnx.split(model)
    return graphdef, nnx.to_pure_dict(state)


def apply(
    graphdef: nnx.GraphDef,
    params: Params,
    x: Streams,
    t: Streams,
    conditioning: types.Conditioning,
    **options: Any,
) -> Streams:
    """The model's prediction, float32. options: of its call, such as `around`."""
    return nnx.merge(graphdef, params)(x, t, conditioning, **options)


def abstract(name: str, **arguments: Any) -> nnx.Module:
    """`presets.build` without allocation: parameters are ShapeDtypeStructs.

    Takes the arguments of `presets.build` but rngs; `split` and `logical_axes` accept
    the result.
    """
    return nnx.eval_shape(lambda: presets.build(name, rngs=nnx.Rngs(0), **arguments))


def logical_axes(model: nnx.Module) -> PyTree[tuple[str | None, ...]]:
    """The names of every parameter's dims, in the structure of `split`'s parameters.

    layers (scanned over), embed and stream (the width where it enters and leaves), mlp,
    heads, mlp_in, heads_in, modulation, signal (the input of modulations), time,
    labels, norm, patch_in, patch_out.
    """
    return nnx.to_pure_dict(
        jax.tree.map(
            lambda variable: variable.get_metadata("out_sharding"),
            nnx.state(model),
            is_leaf=lambda node: isinstance(node, nnx.Variable),
        )
    )
