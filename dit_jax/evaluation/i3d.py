"""I3D (Carreira & Zisserman 2017, arXiv:1705.07750) as plain functions over a dict.

Videos are float32 [B, T, 224, 224, 3] in [-1, 1] with T >= 9; the output is the 400
logits before the softmax, averaged over time (`RGB/inception_i3d/Mean:0`). All padding
is TensorFlow's SAME. Batch norms have no gamma, eps is 1e-3, and they are folded into
the convolutions in float64 when the weights are loaded.

Two forms give equal numbers. "native" uses 3-D convolutions. "folded" lays the shifted
frames of a temporal kernel side by side in the channels and uses 2-D convolutions and
separable pooling, which is several times faster on a CPU and needs more memory.
"""

from collections.abc import Mapping
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, UInt8

Form = Literal["folded", "native"]
Params = Mapping[str, tuple[Array, Array]]
"""Unit name -> (kernel [kt, kh, kw, in, out], bias [out])."""

BATCH_NORM_EPS = 1e-3
SIZE = 224
MIN_FRAMES = 9

UNITS = ("Conv3d_1a_7x7", "Conv3d_2b_1x1", "Conv3d_2c_3x3")
STAGES = (("3b", "3c"), ("4b", "4c", "4d", "4e", "4f"), ("5b", "5c"))
STAGE_POOLS = (
    ((1, 3, 3), (1, 2, 2)),
    ((3, 3, 3), (2, 2, 2)),
    ((2, 2, 2), (2, 2, 2)),
)
LOGITS = "Logits/Conv3d_0c_1x1"


def fold_batch_norms(
    variables: Mapping[str, np.ndarray], eps: float = BATCH_NORM_EPS
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """TF variables -> kernel and bias of every unit, float32 from float64 products."""
    params = {}
    for name in sorted({name.rsplit("/", 2)[0] for name in variables}):
        kernel = variables[f"{name}/conv_3d/w"].astype(np.float64)
        if name == LOGITS:
            bias = variables[f"{name}/conv_3d/b"].astype(np.float64)
        else:
            norm = {
                leaf: variables[f"{name}/batch_norm/{leaf}"].reshape(-1).astype(float)
                for leaf in ("beta", "moving_mean", "moving_variance")
            }
            scale = 1 / np.sqrt(norm["moving_variance"] + eps)
            kernel = kernel * scale
            bias = norm["beta"] - norm["moving_mean"] * scale
        params[name] = (kernel.astype(np.float32), bias.astype(np.float32))
    return params


def default_form() -> Form:
    return "folded" if jax.default_backend() == "cpu" else "native"


def preprocess(
    videos: UInt8[Array, "B T height width 3"],
) -> Float[Array, "B T 224 224 3"]:
    """Whole frames to 224x224 by half-pixel bilinear without antialias, to [-1, 1]."""
    batch, frames = videos.shape[:2]
    resized = jax.image.resize(
        videos.astype(jnp.float32),
        (batch, frames, SIZE, SIZE, 3),
        method="bilinear",
        antialias=False,
        precision=lax.Precision.HIGHEST,
    )
    return resized / 127.5 - 1


def logits(
    params: Params, videos: Float[Array, "B T 224 224 3"], form: Form
) -> Float[Array, "B 400"]:
    """Logits averaged over time; ValueError for other sizes or fewer than 9 frames."""
    _, frames, height, width, _ = videos.shape
    if frames < MIN_FRAMES or (height, width) != (SIZE, SIZE):
        raise ValueError(
            f"I3D got {frames} frames of {height}x{width}; it needs at least "
            f"{MIN_FRAMES} frames of {SIZE}x{SIZE}"
        )
    unit = partial(_unit, params, form=form)
    x = unit(videos, "Conv3d_1a_7x7", stride=2)
    x = max_pool(x, (1, 3, 3), (1, 2, 2), form)
    x = unit(unit(x, "Conv3d_2b_1x1"), "Conv3d_2c_3x3")
    for blocks, (window, strides) in zip(STAGES, STAGE_POOLS, strict=True):
        x = max_pool(x, window, strides, form)
        for block in blocks:
            x = _mixed(params, x, f"Mixed_{block}", form)
    # Average pool 2x7x7 over the 7x7 map, then the 1x1x1 convolution.
    pooled = x.mean(axis=(2, 3))
    pooled = (pooled[:, :-1] + pooled[:, 1:]) / 2
    kernel, bias = params[LOGITS]
    out = jnp.matmul(pooled, kernel[0, 0, 0], precision=lax.Precision.HIGHEST)
    return out.mean(axis=1) + bias[None]


def _mixed(params: Params, x: Array, name: str, form: Form) -> Array:
    """The Inception block: four branches side by side."""
    unit = partial(_unit, params, form=form)
    third = "0a" if name == "Mixed_5b" else "0b"  # a slip in the original's names
    b0 = unit(x, f"{name}/Branch_0/Conv3d_0a_1x1")
    b1 = unit(x, f"{name}/Branch_1/Conv3d_0a_1x1")
    b1 = unit(b1, f"{name}/Branch_1/Conv3d_0b_3x3")
    b2 = unit(x, f"{name}/Branch_2/Conv3d_0a_1x1")
    b2 = unit(b2, f"{name}/Branch_2/Conv3d_{third}_3x3")
    b3 = max_pool(x, (3, 3, 3), (1, 1, 1), form)
    b3 = unit(b3, f"{name}/Branch_3/Conv3d_0b_1x1")
    return jnp.concatenate([b0, b1, b2, b3], axis=-1)


def _unit(params: Params, x: Array, name: str, *, stride: int = 1, form: Form) -> Array:
    """Convolution with its folded batch norm, then ReLU."""
    kernel, bias = params[name]
    conv = conv_folded if form == "folded" else conv_native
    return jax.nn.relu(conv(x, kernel, stride) + bias[None, None, None, None])


def conv_native(
    x: Float[Array, "B T H W C"], kernel: Float[Array, "kt kh kw C O"], stride: int
) -> Float[Array, "B t h w O"]:
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride,) * 3,
        "SAME",
        dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
        precision=lax.Precision.HIGHEST,
    )


def conv_folded(
    x: Float[Array, "B T H W C"], kernel: Float[Array, "kt kh kw C O"], stride: int
) -> Float[Array, "B t h w O"]:
    """`conv_native` by one 2-D convolution over kt frames in the channels."""
    kt, kh, kw, _, num_out = kernel.shape
    x = jnp.concatenate(_shifted(x, kt, stride, axis=1, fill=0.0), axis=-1)
    frames = x.reshape(-1, *x.shape[2:])
    kernel = jnp.moveaxis(kernel, 0, 2).reshape(kh, kw, -1, num_out)
    if (kh, kw, stride) == (1, 1, 1):
        out = jnp.matmul(frames, kernel[0, 0], precision=lax.Precision.HIGHEST)
    else:
        out = lax.conv_general_dilated(
            frames,
            kernel,
            (stride,) * 2,
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision=lax.Precision.HIGHEST,
        )
    return out.reshape(*x.shape[:2], *out.shape[1:])


def max_pool(
    x: Float[Array, "B T H W C"],
    window: tuple[int, int, int],
    strides: tuple[int, int, int],
    form: Form,
) -> Float[Array, "B t h w C"]:
    """SAME max pool; padding never wins."""
    if form == "native":
        return lax.reduce_window(
            x, -jnp.inf, lax.max, (1, *window, 1), (1, *strides, 1), "SAME"
        )
    for axis, (size, stride) in enumerate(zip(window, strides, strict=True), start=1):
        if size > 1:
            x = _largest(_shifted(x, size, stride, axis, fill=-jnp.inf))
    return x


def _largest(parts: list[Array]) -> Array:
    largest = parts[0]
    for part in parts[1:]:
        largest = jnp.maximum(largest, part)
    return largest


def _shifted(x: Array, size: int, stride: int, axis: int, fill: float) -> list[Array]:
    """What each of a window's `size` positions sees along `axis`, SAME padded."""
    length = x.shape[axis]
    num_out = -(-length // stride)
    total = max((num_out - 1) * stride + size - length, 0)
    padding = [(0, 0)] * x.ndim
    padding[axis] = (total // 2, total - total // 2)
    padded = jnp.pad(x, padding, constant_values=fill)
    return [
        lax.slice_in_dim(
            padded, i, i + (num_out - 1) * stride + 1, stride=stride, axis=axis
        )
        for i in range(size)
    ]
