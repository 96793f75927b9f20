"""The transformer block: residual branches, each normed, modulated and gated."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, DTypeLike, Float

from dit_jax import types
from dit_jax.models.attention import Scene
from dit_jax.models.primitives import layer_norm, linear, modulate

LayerFactory = Callable[..., nnx.Module]
"""`(rngs=...)` -> a layer `(x [B, N, D], scene) -> [B, N, D]`."""


class MLP(nnx.Module):
    """Linear, GELU (tanh form), linear."""

    def __init__(
        self,
        *,
        width: int,
        hidden: int,
        dtype: DTypeLike,
        constrain: types.Constrain,
        rngs: nnx.Rngs,
    ):
        self.hidden = linear(width, hidden, ("embed", "mlp"), dtype=dtype, rngs=rngs)
        self.out = linear(hidden, width, ("mlp", "embed"), dtype=dtype, rngs=rngs)
        self.constrain = constrain

    def __call__(self, x: Float[Array, "B N D"], scene: Scene) -> Float[Array, "B N D"]:
        del scene  # tokens are mixed elsewhere
        hidden = self.constrain(self.hidden(x), ("batch", "tokens", "mlp"))
        return self.out(jax.nn.gelu(hidden, approximate=True))


class Block(nnx.Module):
    """x + gate * layer(modulate(norm(x))) for each layer in turn.

    layers: factories by name, in order of application; the names become the
    parameters' paths. Factories, because one module instance handed to several blocks
    would silently share its weights.
    """

    def __init__(self, layers: Mapping[str, LayerFactory], *, rngs: nnx.Rngs):
        self.names = tuple(layers)
        for name, make in layers.items():
            setattr(self, name, make(rngs=rngs))

    def __call__(
        self,
        x: Float[Array, "B N D"],
        modulation: Float[Array, "B parts D"],
        scene: Scene,
    ) -> Float[Array, "B N D"]:
        """x keeps its dtype; norms, modulation and the residual sum are float32."""
        for i, name in enumerate(self.names):
            shift, scale, gate = (modulation[:, 3 * i + part] for part in range(3))
            branch = getattr(self, name)(modulate(layer_norm(x), shift, scale), scene)
            x = (x + gate[:, None] * branch.astype(jnp.float32)).astype(x.dtype)
        return x
