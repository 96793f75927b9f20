"""Fits the linear codec: streaming moments in float64, then one eigenproblem.

Only the sums over blocks are kept: count n, sum of x, sum of x x^T. From them follow
the mean block mu, the covariance S = E[x x^T] - mu mu^T, its eigenvectors (the basis),
and the latents' statistics: mean 0 and standard deviation sqrt(eigenvalue).

Symmetric form: let J reverse a block left-right. Averaging the moments with their
mirror image makes S commute with J, so every eigenvector can be chosen even (J v = v)
or odd (J v = -v). Flipping a video then reverses the latents' W and flips the sign of
odd channels. The price is a slightly larger error on footage that has a preferred side.
"""

from collections.abc import Iterable, Sequence

import einops
import numpy as np
from jaxtyping import Float, UInt8

from dit_jax.codec_spec import require_block
from dit_jax.codecs.pca import PcaCodec
from dit_jax.errors import UserError

# An eighth of a grey level: channels that the fitting set never used keep a divisor.
MIN_STD = 1e-3
CHUNK_BLOCKS = 4096


class Moments:
    """Sums over all blocks seen, float64. Memory does not grow with the videos."""

    def __init__(self, block: tuple[int, int, int]):
        self.block = block
        size = int(np.prod(block)) * 3
        self.count = 0
        self.total = np.zeros(size)
        self.second = np.zeros((size, size))

    def add(self, video: UInt8[np.ndarray, "F Hp Wp 3"]) -> None:
        """Counts the whole blocks of one shot; frames that fill none are left out."""
        t, h, w = self.block
        frames = len(video) // t * t
        rows = einops.rearrange(
            video[:frames], "(T t) (H h) (W w) c -> (T H W) (t h w c)", t=t, h=h, w=w
        )
        for start in range(0, len(rows), CHUNK_BLOCKS):
            x = rows[start : start + CHUNK_BLOCKS].astype(np.float64) / 127.5 - 1
            self.count += len(x)
            self.total += x.sum(axis=0)
            self.second += x.T @ x


def fit(
    videos: Iterable[UInt8[np.ndarray, "_ _ _ 3"]],
    *,
    block: tuple[int, int, int],
    channels: int,
    symmetric: bool = False,
    scale_power: float = 0.5,
) -> PcaCodec:
    """The codec of least squared error on `videos`, read once.

    block: (t, h, w) pixels. scale_power: each channel is divided by std ** power; 1
    makes all channels unit-variance, 0 leaves them, 0.5 lies between, so that channels
    which carry more of the picture also weigh more in the loss.
    """
    require_settings(block, channels, scale_power=scale_power)
    moments = Moments(block)
    for video in videos:
        moments.add(video)
    if moments.count == 0:
        raise UserError(
            f"the codec has no block of {block[0]} frames to be fitted on; use longer "
            "videos or a shorter codec.block"
        )
    center, covariance = _statistics(moments, symmetric)
    sign: np.ndarray | None = None
    if symmetric:
        values, vectors, sign = _symmetric_eigh(covariance, block)
    else:
        values, vectors = np.linalg.eigh(covariance)
    # Stable: equal eigenvalues keep their order, so a fit can be repeated.
    order = np.argsort(-values, kind="stable")[:channels]
    std = np.sqrt(np.maximum(values[order], MIN_STD**2))
    return PcaCodec.build(
        block=block,
        basis=_fix_signs(vectors[:, order]),
        center=center,
        std=std,
        scale=std**scale_power,
        flip_sign=None if sign is None else sign[order],
    )


def require_settings(
    block: Sequence[int],
    channels: int,
    symmetric: bool = False,
    scale_power: float = 0.5,
) -> None:
    """UserError when `fit` cannot have these settings; it reads no video."""
    del symmetric  # either is fine
    require_block(block)
    size = int(np.prod(block)) * 3
    if not 0 < channels <= size:
        raise UserError(
            f"codec.channels is {channels}, but a block of {tuple(block)} x 3 colours "
            f"has {size} numbers; choose 1 to {size}"
        )
    if not 0 <= scale_power <= 1:  # NaN is refused too
        raise UserError(
            f"codec.scale_power is {scale_power}; choose 0 (channels as they are) to 1 "
            "(all of unit variance)"
        )


def mirror(block: tuple[int, int, int]) -> np.ndarray:
    """J as an index: `x[mirror(block)]` is the flattened block x, flipped."""
    t, h, w = block
    return np.arange(t * h * w * 3).reshape(t, h, w, 3)[:, :, ::-1].reshape(-1)


def _statistics(
    moments: Moments, symmetric: bool
) -> tuple[Float[np.ndarray, " P"], Float[np.ndarray, "P P"]]:
    mean = moments.total / moments.count
    second = moments.second / moments.count
    if symmetric:
        flip = mirror(moments.block)
        mean = (mean + mean[flip]) / 2
        second = (second + second[np.ix_(flip, flip)]) / 2
    covariance = second - np.outer(mean, mean)
    return mean, (covariance + covariance.T) / 2


def _symmetric_eigh(
    covariance: Float[np.ndarray, "P P"], block: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eigenvalues, eigenvectors and their parity, solved in both subspaces apart."""
    flip = mirror(block)
    identity = np.eye(len(flip))
    own = np.arange(len(flip))
    pairs, middle = own[own < flip], own[own == flip]
    even = np.concatenate(
        [(identity[pairs] + identity[flip[pairs]]) / np.sqrt(2), identity[middle]]
    )
    odd = (identity[pairs] - identity[flip[pairs]]) / np.sqrt(2)
    values, vectors, signs = [], [], []
    for basis, sign in ((even, 1), (odd, -1)):
        found, inside = np.linalg.eigh(basis @ covariance @ basis.T)
        values.append(found)
        vectors.append(basis.T @ inside)
        signs.append(np.full(len(found), sign))
    return (
        np.concatenate(values),
        np.concatenate(vectors, axis=1),
        np.concatenate(signs),
    )


def _fix_signs(vectors: Float[np.ndarray, "P C"]) -> Float[np.ndarray, "P C"]:
    """The largest component of each vector is made positive: LAPACK may choose any."""
    largest = np.abs(vectors).argmax(axis=0)
    return vectors * np.sign(vectors[largest, np.arange(vectors.shape[1])])
