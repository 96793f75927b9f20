"""What a codec loses: PSNR of decode(encode(clip)) as 8-bit pixels."""

from collections.abc import Iterable

import jax
import numpy as np
from jaxtyping import UInt8

from dit_jax.codecs import Codec, pixels


def psnr_db(
    codec: Codec, batches: Iterable[tuple[UInt8[np.ndarray, "B F Hp Wp 3"], int]]
) -> float:
    """Of the mean squared error over all clips, which is at most the mean of the clips'
    PSNR. batches: clips, and how many of them count (the others fill the batch)."""
    trip = jax.jit(
        lambda video: pixels.to_uint8(codec.decode(codec.encode(pixels.to_unit(video))))
    )
    errors = [
        pixels.squared_error(np.asarray(trip(video))[:count], video[:count])
        for video, count in batches
    ]
    return pixels.psnr_db(float(np.concatenate(errors).mean()))
