"""Points of a process and the grids that samplers walk, in float64 on the host.

A grid is where the denoiser is asked and where each step leads. It is made before
anything is compiled, so that what a sampler derives from it is exact.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dit_jax.diffusion.processes import Process
from dit_jax.errors import UserError

Row = Float[np.ndarray, " _"]


class Points(NamedTuple):
    """Places on a process. t is the time as a denoiser hears it.

    A rate may be infinite or unknown (nan) where no method asks for it.
    """

    t: Row | Array
    alpha: Row | Array
    sigma: Row | Array
    alpha_rate: Row | Array
    sigma_rate: Row | Array

    @property
    def noise_to_signal(self) -> Row:
        """sigma / alpha, what Karras et al. call sigma; infinite where alpha is 0."""
        with np.errstate(divide="ignore"):
            return self.sigma / self.alpha

    @property
    def logsnr(self) -> Row:
        return -2 * np.log(self.noise_to_signal)

    def rows(self, which: slice | np.ndarray) -> "Points":
        return Points(*(column[which] for column in self))


def of_process(process: Process, t: Row) -> Points:
    """The points at times t in [0, 1]."""
    with jax.enable_x64(True), jax.ensure_compile_time_eval():
        times = jnp.asarray(t, jnp.float64)
        columns = (
            process.alpha(times),
            process.sigma(times),
            process.alpha_rate(times),
            process.sigma_rate(times),
        )
        return Points(np.asarray(t, np.float64), *map(np.asarray, columns))


def of_scales(t: Row, alpha: Row, sigma: Row) -> Points:
    """Points whose rates nobody asks for."""
    unknown = np.full(len(t), np.nan)
    return Points(
        *(np.asarray(c, np.float64) for c in (t, alpha, sigma)), *2 * [unknown]
    )


CLEAN = of_scales(np.zeros(1), np.ones(1), np.zeros(1))
"""Data without noise, where most grids end."""


@dataclasses.dataclass(frozen=True)
class Grid:
    """calls: where the denoiser is asked, [S]. ends: where each step leads, [S].

    A step mostly leads to the next call; some reference samplers round the two apart.
    """

    calls: Points
    ends: Points

    @classmethod
    def along(cls, points: Points) -> "Grid":
        """S steps from each of S + 1 points to the next."""
        if len(points.t) < 2:
            raise UserError("a grid needs two points or more; take at least one step")
        return cls(points.rows(slice(-1)), points.rows(slice(1, None)))

    @classmethod
    def to_data(cls, points: Points) -> "Grid":
        """S steps along S points, the last to clean data."""
        return cls.along(joined(points, CLEAN))

    def rows(self, which: slice) -> "Grid":
        return Grid(self.calls.rows(which), self.ends.rows(which))

    def __len__(self) -> int:
        return len(self.calls.t)


def joined(*parts: Points) -> Points:
    return Points(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
