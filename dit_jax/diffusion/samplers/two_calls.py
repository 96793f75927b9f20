"""Second-order methods: two calls a step, the second at a trial point.

A trial is a row as any other. The row after it adds the difference between what the
trial's slope did and what the better slope does, so a pair of rows makes one step.
"""

from collections.abc import Sequence

import numpy as np

from dit_jax.diffusion.points import Grid, Points
from dit_jax.diffusion.samplers.steps import Column, Steps, make
from dit_jax.errors import UserError


def heun(grid: Grid) -> Steps:
    """The mean of the slopes at s and at Euler's e, along alpha and sigma.

    Karras et al. 2022, arXiv:2206.00364, algorithm 1, with dalpha and dsigma for dt;
    for rectified flow Heun's method on the velocity. The last step is Euler's, since
    no denoiser knows clean data's slope.
    """
    dalpha = grid.ends.alpha - grid.calls.alpha
    dsigma = grid.ends.sigma - grid.calls.sigma
    nothing = np.zeros(len(grid))
    return make(
        Points(*_but_last(by_turns(grid.calls, grid.ends))),
        of_x=1.0,
        of_x0=_but_last(by_turns((dalpha, nothing), (dalpha / 2, -dalpha / 2))),
        of_eps=_but_last(by_turns((dsigma, nothing), (dsigma / 2, -dsigma / 2))),
    )


def edm(grid: Grid) -> Steps:
    """Heun's method in sigma / alpha: Karras et al. 2022, arXiv:2206.00364, algorithm
    1, without churn. Starts where alpha is above 0.
    """
    with np.errstate(divide="ignore", invalid="ignore"):  # `make` names what is not
        ratio = grid.ends.alpha / grid.calls.alpha
        rise = grid.ends.sigma - ratio * grid.calls.sigma
    nothing = np.zeros(len(grid))
    return make(
        Points(*_but_last(by_turns(grid.calls, grid.ends))),
        of_x=_but_last(by_turns((ratio,), (nothing + 1,)))[0],
        of_eps=_but_last(by_turns((rise, nothing), (rise / 2, -rise / 2))),
    )


def midpoint(grid: Grid) -> Steps:
    """The slope in the middle of a step, along alpha and sigma; every second point of
    the grid is such a middle, so that S calls make S / 2 steps.
    """
    start, middle, end = middles(grid)
    nothing = np.zeros(len(start.t))

    def columns(name: str) -> list[Column]:
        s, m, e = (getattr(points, name) for points in (start, middle, end))
        return by_turns((m - s, nothing), (e - s, s - m))

    return make(grid.calls, of_x=1.0, of_x0=columns("alpha"), of_eps=columns("sigma"))


def middles(grid: Grid) -> tuple[Points, Points, Points]:
    """Starts, middles and ends of steps over two intervals of the grid."""
    if len(grid) % 2:
        raise UserError(
            f"a midpoint method makes two calls a step and the grid has {len(grid)}; "
            "choose an even number of steps"
        )
    second = slice(1, None, 2)
    start = grid.calls.rows(slice(0, None, 2))
    return start, grid.calls.rows(second), grid.ends.rows(second)


def by_turns(first: Sequence[Column], second: Sequence[Column]) -> list[Column]:
    """Columns that hold a number of `first` and one of `second` in turns."""
    return [np.stack(pair, 1).reshape(-1) for pair in zip(first, second, strict=True)]


def _but_last(columns: list[Column]) -> list[Column]:
    return [column[:-1] for column in columns]
