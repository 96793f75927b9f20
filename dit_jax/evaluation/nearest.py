"""Do samples copy the training set, and do they show what they were asked for?

Videos are [N, F, H, W, 3], uint8 in 0..255 or float32 in [-1, 1]; distances are mean
squared errors of pixels on a scale of [0, 1], so PSNR is -10 log10 of them.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from dit_jax.codecs import pixels

NEAR_COPY_DB = 20.0
"""A sample within this PSNR of a training clip is called memorised: the error is then
a tenth of the range, while different shots lie at 8 to 15 dB. Neighbouring windows of
one shot pass it too, so give the share for held-out clips beside it."""

BLOCK_BYTES = 1 << 28

Videos = Float[np.ndarray, "_N _F _H _W 3"] | UInt8[np.ndarray, "_N _F _H _W 3"]


@dataclasses.dataclass(frozen=True, eq=False)
class Nearest:
    """For every sample: its nearest clip's index, and the PSNR to it in dB."""

    index: Int[np.ndarray, " N"]
    psnr: Float[np.ndarray, " N"]


def psnr(a: Videos, b: Videos) -> Float[np.ndarray, " N"]:
    """Of each pair of clips, in dB, over all their pixels; infinite when equal."""
    if a.shape != b.shape:
        raise ValueError(f"videos of shapes {a.shape} and {b.shape} cannot be compared")
    return np.array([_psnr_pair(x, y) for x, y in zip(a, b, strict=True)])


def nearest(samples: Videos, clips: Videos) -> Nearest:
    """The clip with the least mean squared error to each sample.

    Candidates come from float32 matrix products over blocks of at most 256 MB a side;
    the PSNR of the winner is computed directly.
    """
    if samples.shape[1:] != clips.shape[1:] or not len(samples) or not len(clips):
        raise ValueError(
            f"samples {samples.shape} and clips {clips.shape} cannot be compared; give "
            "both the same frames, height and width, and at least one of each"
        )
    block = max(1, BLOCK_BYTES // (4 * int(np.prod(clips.shape[1:]))))
    index = np.concatenate(
        [
            _nearest_block(_flat(samples[i : i + block]), clips, block)
            for i in range(0, len(samples), block)
        ]
    )
    return Nearest(index, psnr(samples, clips[index]))


def label_accuracy(
    found: Int[np.ndarray, " N"], wanted: Int[np.ndarray, " N"]
) -> float:
    """The share of samples whose nearest clip has the label they were made for."""
    if found.shape != wanted.shape or not found.size:
        raise ValueError(f"found {found.shape} labels for {wanted.shape} samples")
    return float(np.mean(found == wanted))


def is_memorised(
    psnr_db: Float[np.ndarray, " N"], threshold_db: float = NEAR_COPY_DB
) -> Bool[np.ndarray, " N"]:
    """Which samples are near-copies: PSNR to the nearest training clip above it."""
    return psnr_db > threshold_db


def _nearest_block(rows: np.ndarray, clips: Videos, block: int) -> np.ndarray:
    """argmin |s - c|^2 = argmin |c|^2 - 2 s.c; |s|^2 is the same for every clip."""
    scores = np.concatenate(
        [
            (part**2).sum(axis=1, dtype=np.float64)[None] - 2.0 * (rows @ part.T)
            for i in range(0, len(clips), block)
            for part in [_flat(clips[i : i + block])]
        ],
        axis=1,
    )
    return scores.argmin(axis=1)


def _flat(videos: Videos) -> Float[np.ndarray, "N P"]:
    # Centred at mid grey: the products lose fewer digits than around black.
    return (_unit(videos) - np.float32(0.5)).reshape(len(videos), -1)


def _unit(videos: np.ndarray) -> np.ndarray:
    """To [0, 1] in float32."""
    if videos.dtype == np.uint8:
        return videos.astype(np.float32) / np.float32(255)
    return (np.asarray(videos, np.float32) + np.float32(1)) / np.float32(2)


def _psnr_pair(a: np.ndarray, b: np.ndarray) -> float:
    error = np.mean((_unit(a) - _unit(b)) ** 2, dtype=np.float64)
    return pixels.psnr_db(255**2 * float(error))
