"""Published FVD numbers that this code must reproduce with the real weights.

A: 128 random videos a side, published by the StyleGAN-V authors' comparison of
implementations (TensorFlow and torchscript agree on it). B: black against white videos
of 30 frames, TensorFlow's number in the same place. The other lengths of B are our own
earlier results: they hold the padding rules still.
"""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float

from dit_jax.evaluation import frechet, i3d
from dit_jax.evaluation.features import Extractor

Progress = Callable[[str, int, int], None]
RANDOM_VIDEOS = 128
RANDOM_FRAMES = 16


@dataclasses.dataclass(frozen=True)
class Golden:
    name: str
    wanted: float
    tolerance: float
    source: str
    measure: Callable[[Extractor, Progress], float]


def random_clips(
    seed: int, num: int, shape: tuple[int, ...]
) -> Iterator[Float[np.ndarray, "..."]]:
    """`RandomState(seed).rand(num, *shape)` clip by clip: the stream is sequential, so
    the gigabytes of the whole array are never held."""
    random = np.random.RandomState(seed)
    for _ in range(num):
        yield random.rand(*shape).astype(np.float32)


def measure_random(extractor: Extractor, progress: Progress) -> float:
    """Golden A: uniform noise in [0, 1], seed 1 against seed 2, straight into I3D."""
    shape = (RANDOM_FRAMES, i3d.SIZE, i3d.SIZE, 3)
    sides = []
    for seed in (1, 2):
        rows: list[np.ndarray] = []
        for clip in random_clips(seed, RANDOM_VIDEOS, shape):
            rows.append(extractor.logits(clip[None]))
            progress(f"seed {seed}", len(rows), RANDOM_VIDEOS)
        sides.append(frechet.statistics(np.concatenate(rows)))
    return frechet.frechet_distance(sides[0], sides[1])


def measure_constant(extractor: Extractor, frames: int) -> float:
    """Golden B: black against white; one clip a side says it all, since the sets are
    constant and only the means differ."""
    black = np.full((1, frames, i3d.SIZE, i3d.SIZE, 3), -1, np.float32)
    rows = extractor.logits(np.concatenate([black, -black]))
    dark, bright = (frechet.statistics(np.stack([row, row])) for row in rows)
    return frechet.frechet_distance(dark, bright)


def _constant(frames: int, wanted: float, source: str) -> Golden:
    return Golden(
        f"B, {frames} frames",
        wanted,
        1e-3,
        source,
        lambda extractor, _progress: measure_constant(extractor, frames),
    )


CASES: dict[str, tuple[Golden, ...]] = {
    "A": (Golden("A", 10.138085, 1e-4, "published, TensorFlow", measure_random),),
    "B": (
        _constant(30, 151.3924, "published, TensorFlow"),
        _constant(10, 569.7716, "own regression"),
        _constant(16, 152.9021, "own regression"),
        _constant(17, 357.8519, "own regression"),
        _constant(23, 64.5457, "own regression"),
    ),
}
