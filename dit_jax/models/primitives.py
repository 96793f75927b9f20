"""The small maths that every part shares: linear maps, norms, modulation.

Parameters are float32 always; `dtype` is the compute dtype. Norm statistics and
modulation are float32 whatever the compute dtype. Every parameter carries the logical
names of its dims (`out_sharding`), which `parallel` maps to mesh axes.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, DTypeLike, Float

Initializer = Callable[..., Array]

EPSILON = 1e-6
XAVIER = nnx.initializers.xavier_uniform()


def linear(
    num_in: int,
    num_out: int,
    axes: tuple[str, str],
    *,
    rngs: nnx.Rngs,
    kernel_init: Initializer = XAVIER,
    use_bias: bool = True,
    dtype: DTypeLike = jnp.float32,
    precision: jax.lax.Precision | None = None,
) -> nnx.Linear:
    """A linear map; Xavier-uniform kernel and zero bias unless told otherwise.

    axes: logical names of the kernel's two dims, e.g. ("embed", "mlp").
    """
    return nnx.Linear(
        num_in,
        num_out,
        kernel_init=kernel_init,
        use_bias=use_bias,
        dtype=dtype,
        param_dtype=jnp.float32,
        precision=precision,
        dot_general=_product,
        kernel_metadata={"out_sharding": axes},
        bias_metadata={"out_sharding": axes[1:]},
        rngs=rngs,
    )


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def product(
    x: Float[Array, "*B K"],
    kernel: Float[Array, "K M"],
    precision: jax.lax.PrecisionLike = None,
) -> Float[Array, "*B M"]:
    """x @ kernel, in their dtype. For reverse mode only: `jax.jvp` refuses it.

    JAX's own backward pass asks for the kernel's gradient transposed and turns it
    round; XLA's CPU backend then copies what it multiplies, at twice the time.
    """
    return jnp.dot(x, kernel, precision=precision)


def _product_forward(
    x: Array, kernel: Array, precision: jax.lax.PrecisionLike
) -> tuple[Array, tuple[Array, Array]]:
    # not `product`: a remat policy must see the matrix product itself
    return jnp.dot(x, kernel, precision=precision), (x, kernel)


def _product_backward(
    precision: jax.lax.PrecisionLike, saved: tuple[Array, Array], d_out: Array
) -> tuple[Array, Array]:
    x, kernel = saved
    rows = tuple(range(x.ndim - 1))
    contract = partial(jax.lax.dot_general, precision=precision)
    d_x = contract(d_out, kernel, (((x.ndim - 1,), (1,)), ((), ())))

    def over_rows(a: Array, b: Array) -> Array:
        return contract(a, b, ((rows, rows), ((), ())))

    if x.shape[-1] <= d_out.shape[-1]:
        return d_x, over_rows(x, d_out)
    # XLA's CPU backend turns the left side round, and computes again while it does
    # what made it: here an activation. The barrier keeps it on the narrow side.
    d_kernel = jax.lax.platform_dependent(
        x,
        d_out,
        cpu=lambda x, d_out: jax.lax.optimization_barrier(over_rows(d_out, x)).T,
        default=over_rows,
    )
    return d_x, d_kernel


product.defvjp(_product_forward, _product_backward)


def _product(
    x: Array, kernel: Array, dims: Any, *, precision: Any, out_sharding: Any
) -> Array:
    """`product` as `nnx.Linear` calls it."""
    del dims, out_sharding  # the last dim with the first, placed by constraints
    return product(x, kernel, precision)


@jax.custom_vjp
def gelu_tanh(x: Float[Array, "*B"]) -> Float[Array, "*B"]:
    """GELU in its tanh form, arXiv:1606.08415. For reverse mode only.

    JAX's own backward pass shares the tanh with the forward pass that is computed
    again, and XLA's CPU backend then writes it to memory between the two.
    """
    return jax.nn.gelu(x, approximate=True)


def _gelu_forward(x: Array) -> tuple[Array, Array]:
    return gelu_tanh(x), x


def _gelu_backward(x: Array, d_out: Array) -> tuple[Array]:
    # x sigmoid(z) is the same function, and has no tanh to share
    slope, cube = math.sqrt(8 / math.pi), 0.044715
    gate = jax.nn.sigmoid(slope * (x + cube * x**3))
    d_z = slope * (1 + 3 * cube * x**2)
    return (d_out * gate * (1 + x * (1 - gate) * d_z),)


gelu_tanh.defvjp(_gelu_forward, _gelu_backward)


def layer_norm(
    x: Float[Array, "*B D"], epsilon: float = EPSILON
) -> Float[Array, "*B D"]:
    """Layer norm without scale and shift; float32 out for any input."""
    x = x.astype(jnp.float32)
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt(variance + epsilon)


def modulate(
    x: Float[Array, "B N D"], shift: Float[Array, "B G D"], scale: Float[Array, "B G D"]
) -> Float[Array, "B N D"]:
    """x (1 + scale) + shift; each of G shifts and scales serves N / G tokens in a row.

    G is 1 where all tokens of a clip share one time, T where every frame has its own.
    """
    return x * (1 + per_token(scale, x)) + per_token(shift, x)


def per_token(
    rows: Float[Array, "B G D"], x: Float[Array, "B N D"]
) -> Float[Array, "B N_or_1 D"]:
    """The row that serves each token, broadcast where one serves all."""
    groups = rows.shape[1]
    return rows if groups == 1 else jnp.repeat(rows, x.shape[1] // groups, axis=1)


class LayerNorm(nnx.Module):
    """Layer norm with a learned scale and shift; float32 out for any input."""

    def __init__(self, width: int, *, epsilon: float = EPSILON, rngs: nnx.Rngs):
        del rngs  # constants need no key
        self.scale = nnx.Param(jnp.ones((width,)), out_sharding=("norm",))
        self.bias = nnx.Param(jnp.zeros((width,)), out_sharding=("norm",))
        self.epsilon = epsilon

    def __call__(self, x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
        one = (1,) * (x.ndim - 1) + (-1,)
        normed = layer_norm(x, self.epsilon)
        return normed * self.scale.reshape(one) + self.bias.reshape(one)


class PlainNorm(nnx.Module):
    """Layer norm without parameters, epsilon 1e-6: what adaLN modulates."""

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        del width, rngs

    def __call__(self, x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
        return layer_norm(x)


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
