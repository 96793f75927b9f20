"""Integrators in the process's own time: ODE and SDE steps on the velocity.

    dx = velocity dt                                      the probability-flow ODE
    dx = (velocity + w eps / sigma) dt + sqrt(2 w |dt|) z   the same laws, with noise

for any w(t) >= 0, dt < 0 towards data. Ma et al. 2024, arXiv:2401.08740, section 2.
The velocity is alpha' x0 + sigma' eps, so rates must be finite at every call.
"""

from collections.abc import Callable

import numpy as np

from dit_jax.diffusion.points import Grid, Points
from dit_jax.diffusion.samplers.steps import Column, Steps, followed, make
from dit_jax.diffusion.samplers.two_calls import by_turns, middles
from dit_jax.errors import UserError, choose

Slope = tuple[Column, Column]
"""Of x0 and of eps in dx / dt."""


def ode_euler(grid: Grid) -> Steps:
    """First order, one call a step."""
    return _euler(grid)


def ode_heun(grid: Grid) -> Steps:
    """Second order, two calls a step, at both of its ends."""
    return _trapezoids(grid, _slope(grid.calls), _slope(grid.ends))


def ode_midpoint(grid: Grid) -> Steps:
    """Second order; every second point of the grid is the middle of a step."""
    start, middle, end = middles(grid)
    half, whole = middle.t - start.t, end.t - start.t
    nothing = np.zeros(len(half))
    columns = [
        by_turns((half * there, nothing), (whole * here, -half * there))
        for there, here in zip(_slope(start), _slope(middle), strict=True)
    ]
    return make(grid.calls, of_x=1.0, of_x0=columns[0], of_eps=columns[1])


def sde_euler(
    grid: Grid, diffusion: str = "sigma", norm: float = 1.0, last: str = "mean"
) -> Steps:
    """Euler-Maruyama, one call a step; the last step is one of `LAST_STEPS`."""
    noisy, end = _split(grid, last)
    steps = _euler(
        noisy,
        _drift(noisy.calls, diffusion, norm),
        _noise(noisy, diffusion, norm),
    )
    return followed(steps, _last(end, diffusion, norm, last))


def sde_heun(
    grid: Grid, diffusion: str = "sigma", norm: float = 1.0, last: str = "mean"
) -> Steps:
    """Noise first, then the trapezoid of the drift, two calls a step; SiT's Heun."""
    noisy, end = _split(grid, last)
    steps = _trapezoids(
        noisy,
        _slope(noisy.calls, _drift(noisy.calls, diffusion, norm)),
        _slope(noisy.ends, _drift(noisy.ends, diffusion, norm)),
        before=_noise(noisy, diffusion, norm),
    )
    return followed(steps, _last(end, diffusion, norm, last))


def _diffusion(points: Points, name: str, norm: float) -> Column:
    if norm < 0:
        raise UserError(f"the norm of the diffusion is {norm}; choose 0 or more")
    return choose(DIFFUSIONS, name, "the diffusion")(points, norm)


def _drift(points: Points, diffusion: str, norm: float) -> Column:
    """w / sigma; where sigma is 0, its limit if w falls with sigma."""
    near = points._replace(sigma=np.maximum(points.sigma, np.finfo(np.float64).tiny))
    has_no_limit = (points.sigma == 0) & (_diffusion(points, diffusion, norm) != 0)
    with np.errstate(over="ignore"):
        drift = _diffusion(near, diffusion, norm) / near.sigma
    return np.where(has_no_limit, np.inf, drift)


def _noise(grid: Grid, diffusion: str, norm: float) -> Column:
    w = _diffusion(grid.calls, diffusion, norm)
    with np.errstate(invalid="ignore"):  # `make` names what is not finite
        return np.sqrt(2 * w * (grid.calls.t - grid.ends.t))


def _last(grid: Grid, diffusion: str, norm: float, last: str) -> Steps:
    step = choose(LAST_STEPS, last, "the last step")
    return step(grid, _drift(grid.calls, diffusion, norm))


def _euler(
    grid: Grid, drift: Column | float = 0.0, noise: Column | float = 0.0
) -> Steps:
    dt = grid.ends.t - grid.calls.t
    of_x0, of_eps = _slope(grid.calls, drift)
    return make(
        grid.calls,
        of_x=1.0,
        of_x0=[dt * of_x0],
        of_eps=[dt * of_eps],
        of_noise=noise,
    )


def _slope(points: Points, drift: Column | float = 0.0) -> Slope:
    return points.alpha_rate, points.sigma_rate + drift


def _trapezoids(
    grid: Grid, start: Slope, end: Slope, before: Column | None = None
) -> Steps:
    dt = grid.ends.t - grid.calls.t
    nothing = np.zeros(len(grid))
    columns = [
        by_turns((dt * s, nothing), (dt / 2 * e, -dt / 2 * s))
        for s, e in zip(start, end, strict=True)
    ]
    return make(
        Points(*by_turns(grid.calls, grid.ends)),
        of_x=1.0,
        of_x0=columns[0],
        of_eps=columns[1],
        before=0.0 if before is None else by_turns((before,), (nothing,))[0],
    )


def _split(grid: Grid, last: str) -> tuple[Grid, Grid]:
    """The steps with noise, and the one that `last` makes."""
    count = len(grid) - (last != "none")
    return grid.rows(slice(count)), grid.rows(slice(count, None))


Diffusion = Callable[[Points, float], Column]
"""`(points, norm) -> w`, half the power of the noise per time."""

DIFFUSIONS: dict[str, Diffusion] = {
    "constant": lambda p, norm: norm * np.ones(len(p.t)),
    # the forward SDE's of the process, arXiv:2011.13456
    "SBDM": lambda p, norm: (
        norm * p.sigma * (p.sigma_rate - p.alpha_rate * p.noise_to_signal)
    ),
    "sigma": lambda p, norm: norm * p.sigma,
    "linear": lambda p, norm: norm * p.t,
    "decreasing": lambda p, norm: 0.25 * (1 - norm * np.cos(np.pi * p.t)) ** 2,
    "increasing-decreasing": lambda p, norm: norm * np.sin(np.pi * p.t) ** 2,
}

LAST_STEPS: dict[str, Callable[[Grid, Column], Steps]] = {
    "mean": lambda grid, drift: _euler(grid, drift),
    "euler": lambda grid, drift: _euler(grid),
    "tweedie": lambda grid, drift: make(grid.calls, of_x0=[1.0]),
    "none": lambda grid, drift: make(grid.calls),
}
"""How an SDE sampler leaves its last point, where fresh noise would stay."""
