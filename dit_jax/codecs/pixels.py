"""uint8 frames to the codecs' range [-1, 1] and back, and the error between two."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8


def to_unit(video: UInt8[Array | np.ndarray, "..."]) -> Float[Array, "..."]:
    """0..255 -> [-1, 1], float32."""
    return jnp.asarray(video, jnp.float32) / 127.5 - 1


def to_uint8(video: Float[Array | np.ndarray, "..."]) -> UInt8[Array, "..."]:
    """[-1, 1] -> 0..255, rounded; what lies outside is clipped."""
    return jnp.clip(jnp.round((jnp.asarray(video) + 1) * 127.5), 0, 255).astype(
        jnp.uint8
    )


def squared_error(
    a: UInt8[Array | np.ndarray, "B ..."], b: UInt8[Array | np.ndarray, "B ..."]
) -> Float[np.ndarray, " B"]:
    """Mean squared error of each clip in grey levels, float64."""
    difference = np.asarray(a, np.int16) - np.asarray(b, np.int16)
    return np.square(difference, dtype=np.float64).reshape(len(a), -1).mean(axis=1)


def psnr_db(mean_squared_error: float) -> float:
    """Peak signal-to-noise ratio of 8-bit pixels; infinite without an error."""
    if mean_squared_error == 0:
        return float("inf")
    return float(10 * np.log10(255**2 / mean_squared_error))
