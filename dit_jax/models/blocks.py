"""A block is a row of branches; a branch adds a layer's output to the residual stream.

A branch names how many rows of modulation it takes (`parts`): none, a shift and a
scale, or a shift, a scale and a gate. The block hands each branch its own rows. Norms,
modulation and the residual sum are float32; the stream keeps its dtype.
"""

from collections.abc import Callable, Mapping
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, DTypeLike, Float

from dit_jax import types
from dit_jax.models.positions import sincos_time
from dit_jax.models.primitives import (
    XAVIER,
    Initializer,
    gelu_tanh,
    linear,
    modulate,
    per_token,
)
from dit_jax.models.scene import Scene

LayerFactory = Callable[..., nnx.Module]
"""`(rngs=...) -> (x, scene) -> what is added to x`."""

BranchFactory = Callable[..., nnx.Module]
"""`(rngs=...) -> (x, modulation, scene) -> x`."""


class MLP(nnx.Module):
    """Linear, GELU, linear."""

    def __init__(
        self,
        *,
        width: int,
        hidden: int,
        gelu: Callable[[Array], Array] = gelu_tanh,
        kernel_init: Initializer = XAVIER,
        dtype: DTypeLike,
        constrain: types.Constrain,
        rngs: nnx.Rngs,
    ):
        make = partial(linear, kernel_init=kernel_init, dtype=dtype, rngs=rngs)
        self.hidden = make(width, hidden, ("embed", "mlp"))
        self.out = make(hidden, width, ("mlp_in", "stream"))
        self.gelu = gelu
        self.constrain = constrain

    def __call__(self, x: Float[Array, "B N D"], scene: Scene) -> Float[Array, "B N D"]:
        del scene  # tokens are mixed elsewhere
        hidden = self.constrain(self.hidden(x), ("batch", "tokens", "mlp"))
        return self.out(self.gelu(hidden))


class PreNorm(nnx.Module):
    """x + layer(norm(x)): the plain transformer's branch."""

    parts = 0

    def __init__(
        self, layer: LayerFactory, *, norm: Callable[..., nnx.Module], rngs: nnx.Rngs
    ):
        self.norm = norm(rngs=rngs)
        self.layer = layer(rngs=rngs)

    def __call__(
        self,
        x: Float[Array, "B N D"],
        modulation: Float[Array, "B G parts D"],
        scene: Scene,
    ) -> Float[Array, "B N D"]:
        return _add(x, self.layer(self.norm(x), scene))


class PostNorm(PreNorm):
    """norm(x + layer(x)), the branch of UniDiffuser (arXiv:2303.06555)."""

    def __call__(
        self,
        x: Float[Array, "B N D"],
        modulation: Float[Array, "B G parts D"],
        scene: Scene,
    ) -> Float[Array, "B N D"]:
        return self.norm(_add(x, self.layer(x, scene))).astype(x.dtype)


class Modulated(PreNorm):
    """x + layer(norm(x) (1 + scale) + shift), the branch of adaLN."""

    parts = 2

    def __call__(
        self,
        x: Float[Array, "B N D"],
        modulation: Float[Array, "B G parts D"],
        scene: Scene,
    ) -> Float[Array, "B N D"]:
        shift, scale = (modulation[:, :, i] for i in range(2))
        return _add(x, self.layer(modulate(self.norm(x), shift, scale), scene))


class Gated(PreNorm):
    """x + gate layer(norm(x) (1 + scale) + shift), the branch of adaLN-Zero."""

    parts = 3

    def __call__(
        self,
        x: Float[Array, "B N D"],
        modulation: Float[Array, "B G parts D"],
        scene: Scene,
    ) -> Float[Array, "B N D"]:
        shift, scale, gate = (modulation[:, :, i] for i in range(3))
        branch = self.layer(modulate(self.norm(x), shift, scale), scene)
        return _add(x, per_token(gate, x) * branch.astype(jnp.float32))


class AddTime(nnx.Module):
    """Adds a table of the frames before one block of the stack, number `at` (Latte)."""

    parts = 0

    def __init__(self, *, at: int, rngs: nnx.Rngs):
        del rngs
        self.at = at

    def __call__(
        self,
        x: Float[Array, "B N D"],
        modulation: Float[Array, "B G parts D"],
        scene: Scene,
    ) -> Float[Array, "B N D"]:
        table = sincos_time(scene.grid, x.shape[-1])[None]
        return x + jnp.where(scene.layer == self.at, table, 0).astype(x.dtype)


class Block(nnx.Module):
    """Branches in order of application; their names become the parameters' paths.

    Factories, because one module instance handed to several blocks would silently share
    its weights. `parts`: rows of modulation of the whole block.
    """

    def __init__(self, branches: Mapping[str, BranchFactory], *, rngs: nnx.Rngs):
        self.names = tuple(branches)
        for name, make in branches.items():
            setattr(self, name, make(rngs=rngs))
        self.parts = sum(getattr(self, name).parts for name in self.names)

    def __call__(
        self,
        x: Float[Array, "B N D"],
        modulation: Float[Array, "B G parts D"],
        scene: Scene,
    ) -> Float[Array, "B N D"]:
        start = 0
        for name in self.names:
            branch = getattr(self, name)
            with jax.named_scope(name):
                x = branch(x, modulation[:, :, start : start + branch.parts], scene)
            start += branch.parts
        return x


def _add(
    x: Float[Array, "B N D"], branch: Float[Array, "B N D"]
) -> Float[Array, "B N D"]:
    return (x + branch.astype(jnp.float32)).astype(x.dtype)
