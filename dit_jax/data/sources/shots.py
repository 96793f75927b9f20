"""Finds hard cuts, so that no clip shows two shots.

The difference d[i] of frame i to its predecessor is the mean absolute difference of
32x32 thumbnails in grey levels, over the three colours. Frame i starts a new shot when

    d[i] >= MIN_DIFFERENCE
    d[i] >= PEAK * (1 + the largest of the two differences on either side)
    d[i] >= RATIO * (1 + the median of the eight differences on either side)

A pan or a passing object is large for several frames and fails the second line; a
flash is large twice in a row and fails it too. Dissolves and fades are not
found, nor anything in a video of two frames.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import PIL.Image
from jaxtyping import Float, UInt8

MIN_DIFFERENCE = 10.0
PEAK = 1.5
RATIO = 3.0
THUMBNAIL = (32, 32)
NEAR, AROUND = 2, 8


class Differences:
    """Collects d[i] while frames stream by; `values[0]` is 0."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self._last: np.ndarray | None = None

    def watch(
        self, frames: Iterable[UInt8[np.ndarray, "H W 3"]]
    ) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
        """Hands the frames on unchanged."""
        for frame in frames:
            picture = PIL.Image.fromarray(frame)
            small = np.asarray(
                picture.resize(THUMBNAIL, PIL.Image.Resampling.BILINEAR), np.float32
            )
            last = small if self._last is None else self._last
            self.values.append(float(np.abs(small - last).mean()))
            self._last = small
            yield frame


def find_cuts(differences: Sequence[float] | Float[np.ndarray, " F"]) -> list[int]:
    """Frames that start a new shot, ascending, without 0."""
    d = np.asarray(differences, np.float64)
    return [
        i
        for i in range(1, len(d))
        if d[i] >= MIN_DIFFERENCE
        and d[i] >= PEAK * (1 + max(_around(d, i, NEAR), default=np.inf))
        and d[i] >= RATIO * (1 + np.median(_around(d, i, AROUND)))
    ]


def find_shots(
    differences: Sequence[float] | Float[np.ndarray, " F"], *, split_cuts: bool
) -> tuple[tuple[int, int], ...]:
    """Shots as (first frame, frame after the last); one shot when cuts are ignored."""
    edges = [0, *(find_cuts(differences) if split_cuts else []), len(differences)]
    return tuple(zip(edges[:-1], edges[1:], strict=True))


def _around(d: np.ndarray, i: int, reach: int) -> list[float]:
    """The differences within `reach` of i, without d[i] and without frame 0's."""
    return [*d[max(1, i - reach) : i], *d[i + 1 : i + 1 + reach]]
