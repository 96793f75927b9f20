"""The small maths that every part shares: linear maps, norms, modulation.

Parameters are float32 always; `dtype` is the compute dtype. Norm statistics and
modulation are float32 whatever the compute dtype. Every parameter carries the logical
names of its dims (`out_sharding`), which `parallel` maps to mesh axes.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, DTypeLike, Float

EPSILON = 1e-6
XAVIER = nnx.initializers.xavier_uniform()


def linear(
    num_in: int,
    num_out: int,
    axes: tuple[str, str],
    *,
    rngs: nnx.Rngs,
    kernel_init: Callable[..., Array] = XAVIER,
    dtype: DTypeLike = jnp.float32,
    precision: jax.lax.Precision | None = None,
) -> nnx.Linear:
    """A biased linear map, Xavier-uniform kernel and zero bias unless told otherwise.

    axes: logical names of the kernel's two dims, e.g. ("embed", "mlp").
    """
    return nnx.Linear(
        num_in,
        num_out,
        kernel_init=kernel_init,
        dtype=dtype,
        param_dtype=jnp.float32,
        precision=precision,
        kernel_metadata={"out_sharding": axes},
        bias_metadata={"out_sharding": axes[1:]},
        rngs=rngs,
    )


def layer_norm(x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
    """Layer norm without scale and shift, epsilon 1e-6; float32 out for any input."""
    x = x.astype(jnp.float32)
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt(variance + EPSILON)


def modulate(
    x: Float[Array, "B N D"], shift: Float[Array, "B D"], scale: Float[Array, "B D"]
) -> Float[Array, "B N D"]:
    """x (1 + scale) + shift, one shift and scale for all tokens of a clip."""
    return x * (1 + scale[:, None]) + shift[:, None]


class RMSNorm(nnx.Module):
    """x / rms(x) * scale over the last dim; float32 out for any input."""

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        del rngs  # ones need no key
        self.scale = nnx.Param(jnp.ones((width,)), out_sharding=("norm",))

    def __call__(self, x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
        x = x.astype(jnp.float32)
        mean_square = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
        scale = self.scale.reshape((1,) * (x.ndim - 1) + (-1,))
        return x * jax.lax.rsqrt(mean_square + EPSILON) * scale


class NoNorm(nnx.Module):
    """The norm that is not there: same constructor, no parameters."""

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        del width, rngs

    def __call__(self, x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
        return x
