"""The Gaussian steps of a process, in float64 on the host: one place for each formula.

s is where a step of a grid starts and e where it ends, nearer to data. With
k = alpha_s / alpha_e a forward step is x_s = k x_e + noise, and Bayes' rule gives

    q(x_e | x_s, x0)   mean      (k sigma_e^2 x_s + alpha_e b x0) / sigma_s^2
                       variance  b sigma_e^2 / sigma_s^2
    b                  sigma_s^2 - k^2 sigma_e^2, the noise that the forward step adds

for any alpha and sigma; Ho et al. 2020, arXiv:2006.11239, eq. 6 and 7. Grids fall: the
row after a row stands nearer to data.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float

from dit_jax.diffusion.points import Grid
from dit_jax.errors import UserError

Column = Float[np.ndarray, " _"]
LEAST = 1e-20  # a variance whose log is still finite


def kept(grid: Grid) -> Column:
    """k: how much a forward step from e to s keeps."""
    return grid.calls.alpha / grid.ends.alpha


def forward_variance(grid: Grid) -> Column:
    """b: the beta of a step. UserError for a grid that walks to more noise."""
    first, last = grid.calls.rows(slice(1)), grid.ends.rows(slice(-1, None))
    if last.sigma[0] * first.alpha[0] > first.sigma[0] * last.alpha[0]:
        raise UserError(
            "a step to more noise has no posterior to draw from; walk this grid with a "
            "sampler that draws no noise"
        )
    added = grid.calls.sigma**2 - (kept(grid) * grid.ends.sigma) ** 2
    return np.maximum(added, 0)


def posterior_variance(grid: Grid) -> Column:
    """Of q(x_e | x_s, x0): 0 for a step to clean data."""
    return forward_variance(grid) * (grid.ends.sigma / grid.calls.sigma) ** 2


def posterior_mean(grid: Grid) -> tuple[Column, Column]:
    """Its coefficients of x_s and of x0."""
    added, whole = forward_variance(grid), grid.calls.sigma**2
    of_x = kept(grid) * grid.ends.sigma**2 / whole
    return of_x, grid.ends.alpha * added / whole


def clipped_posterior_variance(grid: Grid) -> Column:
    """The posterior's, but a step to clean data takes the one of the step before it."""
    small = posterior_variance(grid)
    return np.where(grid.ends.sigma == 0, np.roll(small, 1), small)


class Variance(NamedTuple):
    """Of the noise that a model's step adds.

    fixed: the variance itself, None where the denoiser says it. log_bounds: its log
    where the denoiser says -1 and where it says 1, [S, 2]; equal where it is fixed.
    """

    fixed: Column | None
    log_bounds: Float[np.ndarray, "_ 2"]


def log_variance(
    said: Float[Array, "..."], low: Float[Array, "..."], high: Float[Array, "..."]
) -> Float[Array, "..."]:
    """Between the bounds by what the denoiser says; arXiv:2102.09672, eq. 15."""
    return low + (said + 1) / 2 * (high - low)


def fixed_small(grid: Grid) -> Variance:
    """The posterior's: what is best for data of one point."""
    small = clipped_posterior_variance(grid)
    return Variance(posterior_variance(grid), _log_bounds(small, small))


def fixed_large(grid: Grid) -> Variance:
    """The forward step's: what is best for white noise as data. A step to clean data
    has the small one, whose decoder is the better one."""
    small, large = clipped_posterior_variance(grid), forward_variance(grid)
    large = np.where(grid.ends.sigma == 0, small, large)
    return Variance(large, _log_bounds(large, large))


def learned(grid: Grid) -> Variance:
    """The denoiser says the log of the variance itself."""
    return Variance(None, np.tile([-1.0, 1.0], (len(grid), 1)))


def learned_range(grid: Grid) -> Variance:
    """Between the posterior's and the forward step's. Nichol and Dhariwal 2021,
    arXiv:2102.09672, eq. 15; DiT's."""
    small, large = clipped_posterior_variance(grid), forward_variance(grid)
    return Variance(None, _log_bounds(small, large))


def _log_bounds(small: Column, large: Column) -> Float[np.ndarray, "_ 2"]:
    return np.log(np.maximum(np.stack([small, large], 1), LEAST))


VARIANCES: dict[str, Callable[[Grid], Variance]] = {
    "fixed_small": fixed_small,
    "fixed_large": fixed_large,
    "learned": learned,
    "learned_range": learned_range,
}
