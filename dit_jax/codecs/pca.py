"""Linear codec: principal components of spacetime blocks of pixels.

A block x is (t, h, w) pixels x 3 colours in [-1, 1], flattened to P numbers. With
orthonormal columns W [P, C] and the mean block mu,

    encode: z = (x - mu) W        decode: x = mu + z W^T

so C = P is lossless up to rounding, and C < P keeps the subspace of least squared
error on the fitting set. It is PCA, fitted in closed form, and not a VAE.
"""

import hashlib

import einops
import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from jaxtyping import Array, Float

from dit_jax.codec_spec import CodecSpec
from dit_jax.errors import DataError

BLOCKS = "B (T t) (H h) (W w) c -> B T H W (t h w c)"
PIXELS = "B T H W (t h w c) -> B (T t) (H h) (W w) c"


class PcaCodec:
    """See the module. `weights` hold everything the spec says, so that its sha256
    identifies basis, statistics and scale together."""

    def __init__(self, spec: CodecSpec, weights: dict[str, np.ndarray]):
        self.spec = spec
        self._weights = weights
        self._basis = weights["basis"]
        self._center = weights["center"]

    def encode(
        self, video: Float[Array | np.ndarray, "B F Hp Wp 3"]
    ) -> Float[Array, "B T H W C"]:
        """Raw latents, float32; UserError when the block does not divide the video."""
        self.spec.latent_shape(*video.shape[1:4])
        t, h, w = self.spec.compression
        blocks = einops.rearrange(
            jnp.asarray(video, jnp.float32), BLOCKS, t=t, h=h, w=w
        )
        center = self._center.reshape(1, 1, 1, 1, -1)
        return _matmul(blocks - center, jnp.asarray(self._basis))

    def decode(
        self, latents: Float[Array | np.ndarray, "B T H W C"]
    ) -> Float[Array, "B F Hp Wp 3"]:
        """Pixels near [-1, 1], float32, not clipped."""
        t, h, w = self.spec.compression
        blocks = _matmul(jnp.asarray(latents, jnp.float32), jnp.asarray(self._basis.T))
        blocks = blocks + self._center.reshape(1, 1, 1, 1, -1)
        return einops.rearrange(blocks, PIXELS, t=t, h=h, w=w, c=3)

    def weight_bytes(self) -> bytes:
        return safetensors.numpy.save(self._weights)

    @classmethod
    def from_bytes(cls, spec: CodecSpec, content: bytes) -> "PcaCodec":
        """Reads the weight file; DataError when a tensor does not fit the spec."""
        weights = safetensors.numpy.load(content)
        t, h, w = spec.compression
        size = t * h * w * 3
        wanted = {"basis": (size, spec.channels), "center": (size,)}
        for name, shape in wanted.items():
            found = weights[name].shape if name in weights else None
            if found != shape:
                raise DataError(
                    f"tensor {name!r} of codec {spec.name!r} has shape {found}, wanted "
                    f"{shape}; fit the codec anew"
                )
        return cls(spec, weights)

    @classmethod
    def build(
        cls,
        *,
        block: tuple[int, int, int],
        basis: Float[np.ndarray, "P C"],
        center: Float[np.ndarray, " P"],
        std: Float[np.ndarray, " C"],
        scale: Float[np.ndarray, " C"],
        flip_sign: np.ndarray | None,
    ) -> "PcaCodec":
        """A codec of fitted parts. `center` is the fitting set's mean block, so the
        mean of raw latents is 0 by construction."""
        t, h, w = block
        channels = basis.shape[1]
        mean = np.zeros(channels, np.float32)
        weights = {"basis": basis, "center": center, "std": std, "scale": scale}
        weights = {k: np.ascontiguousarray(v, np.float32) for k, v in weights.items()}
        weights["mean"] = mean
        if flip_sign is not None:
            weights["flip_sign"] = np.ascontiguousarray(flip_sign, np.int32)
        spec = CodecSpec(
            name=f"pca-{h}x{w}x{t}-c{channels}"
            + ("" if flip_sign is None else "-symmetric"),
            kind="pca",
            compression=block,
            channels=channels,
            mean=tuple(mean.tolist()),
            std=tuple(weights["std"].tolist()),
            scale=tuple(weights["scale"].tolist()),
            sha256=hashlib.sha256(safetensors.numpy.save(weights)).hexdigest(),
            flip_sign=None if flip_sign is None else tuple(flip_sign.tolist()),
        )
        return cls(spec, weights)


def _matmul(a: Array, b: Array) -> Array:
    # HIGHEST: accelerators would round float32 products to bf16 or tf32.
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
