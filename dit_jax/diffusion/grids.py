"""Grids of a process: where a sampler asks, from noise to data.

A grid of N steps has N calls, and ends at clean data or, with `t_min` above 0, at that
time. `GRIDS` names the ways to space it.
"""

from collections.abc import Callable
from functools import partial

import jax
import numpy as np

from dit_jax.diffusion import options
from dit_jax.diffusion.points import CLEAN, Grid, Points, Row, joined, of_process
from dit_jax.diffusion.processes import Discrete, Process
from dit_jax.diffusion.respacing import kept_steps
from dit_jax.diffusion.times import require_shift, shift_time
from dit_jax.errors import NoAnswer, UserError

LEAST = 1e-3
"""The last call's time of grids by noise, on processes whose noise falls to 0."""


def make_grid(
    name: str,
    process: Process,
    steps: int,
    *,
    shift: float = 1.0,
    t_max: float = 1.0,
    t_min: float = 0.0,
) -> Grid:
    """A grid of `GRIDS`, with its options, from t_max to t_min, float64.

    shift: moves evenly spaced times towards noise, see `times.shift_time`; for the
    other grids 1.0. UserError where a step would lead nowhere.
    """
    if steps < 1:
        raise UserError(f"the number of steps is {steps}; it must be at least 1")
    if not 0 <= t_min < t_max <= 1:
        raise UserError(
            f"sampling times run from {t_max} to {t_min}; choose "
            "0 <= t_min < t_max <= 1"
        )
    require_shift(shift)
    spaced = options.read(GRIDS, name, "sample.grid")
    if shift != 1.0 and spaced is not uniform:
        raise UserError(
            f"sample.grid {name} has a spacing of its own, so that the shift {shift} "
            "would do nothing; set it to 1.0, or the grid to uniform"
        )
    if spaced is uniform:
        points = uniform(process, steps, t_max, t_min, shift)
    else:
        points = spaced(process, steps, t_max, t_min)
    falls = np.diff(points.t.astype(np.float32)) < 0
    if not falls[:-1].all() or points.sigma[-1] >= points.sigma[-2]:
        raise UserError(
            f"{steps} steps of the grid {name} with shift {shift} give equal times; "
            "lower the shift or the number of steps"
        )
    return Grid.along(points)


def uniform(
    process: Process, steps: int, t_max: float, t_min: float, shift: float
) -> Points:
    """Evenly spaced in time, then shifted."""
    times = shift_time(np.linspace(1.0, 0.0, steps + 1), shift)
    points = of_process(process, t_min + (t_max - t_min) * times)
    if t_min == 0 and points.sigma[-1] > 0:  # the first of discrete steps has noise
        points = joined(points.rows(slice(-1)), CLEAN)
    return points


Ratios = Callable[[float, float, int], Row]
"""`(largest, smallest, N) -> N falling values` of sigma / alpha, both ends included."""

CountDown = Callable[[int, int], Row]
"""`(T, N) -> N of the steps 0 to T - 1`, falling."""


def karras(largest: float, smallest: float, count: int, rho: float = 7.0) -> Row:
    """Evenly spaced in the rho-th root. Karras et al. 2022, arXiv:2206.00364, eq. 5."""
    if rho <= 0:
        raise UserError(f"rho of the grid karras is {rho}; choose one above 0")
    ends = largest ** (1 / rho), smallest ** (1 / rho)
    return np.linspace(*ends, count) ** rho


def exponential(largest: float, smallest: float, count: int) -> Row:
    """Evenly spaced in logsnr: Lu et al. 2022, arXiv:2206.00927 ("lu-lambdas")."""
    return np.exp(np.linspace(np.log(largest), np.log(smallest), count))


def beta(
    largest: float, smallest: float, count: int, a: float = 0.6, b: float = 0.6
) -> Row:
    """Quantiles of a beta law, dense at both ends; Lee et al., arXiv:2407.12173."""
    if a <= 0 or b <= 0:
        raise UserError(f"a and b of the grid beta are {a} and {b}; choose above 0")
    shares = beta_quantiles(np.linspace(1, 0, count), a, b)
    return smallest + shares * (largest - smallest)


def beta_quantiles(shares: Row, a: float, b: float) -> Row:
    """The values below which these shares of a beta law fall, by bisection."""
    low, high = np.zeros_like(shares), np.ones_like(shares)
    with jax.enable_x64(True), jax.ensure_compile_time_eval():
        for _ in range(60):
            middle = (low + high) / 2
            is_below = np.asarray(jax.scipy.special.betainc(a, b, middle)) < shares
            low = np.where(is_below, middle, low)
            high = np.where(is_below, high, middle)
    return np.where(shares == 0, 0.0, np.where(shares == 1, 1.0, high))


def by_noise(
    ratios: Ratios, process: Process, steps: int, t_max: float, t_min: float
) -> Points:
    """Points whose sigma / alpha are spaced by `ratios`."""
    low = t_min or (0.0 if isinstance(process, Discrete) else LEAST)
    largest, smallest = of_process(process, np.array([t_max, low])).noise_to_signal
    if not np.isfinite(largest):
        raise NoAnswer(
            f"at t = {t_max} nothing is left of the data, where sigma / alpha is "
            "infinite; start lower (t_max), or choose the uniform grid"
        )
    values = ratios(largest, smallest, steps + (t_min > 0))
    points = of_process(process, times_of(process, values))
    return points if t_min > 0 else joined(points, CLEAN)


def times_of(process: Process, ratios: Row) -> Row:
    """The times at which sigma / alpha has these values, to 1e-7."""
    fine = np.linspace(0, 1, 200_001)
    with np.errstate(divide="ignore"):
        table = np.log(of_process(process, fine).noise_to_signal)
    return np.interp(np.log(ratios), table, fine)


def on_steps(
    count_down: CountDown, process: Process, steps: int, t_max: float, t_min: float
) -> Points:
    """Points on whole steps of a discrete process."""
    if not isinstance(process, Discrete):
        raise UserError(
            "this grid counts the steps of a discrete process, and the run's is "
            "continuous; choose uniform, karras, exponential or beta"
        )
    if (t_max, t_min) != (1.0, 0.0) or steps > process.num_steps:
        raise UserError(
            f"this grid takes up to {process.num_steps} steps from t = 1 to 0; "
            f"found {steps} from {t_max} to {t_min}"
        )
    numbers = count_down(process.num_steps, steps)
    points = of_process(process, numbers / (process.num_steps - 1))
    return joined(points, CLEAN)


def linspace_steps(total: int, count: int) -> Row:
    """Rounded from the last step to the first, both included."""
    return np.linspace(total - 1, 0, count).round()


def leading_steps(total: int, count: int) -> Row:
    """Every (total // count)-th from the first on; may stop short of the last."""
    return np.arange(count)[::-1] * (total // count) * 1.0


def trailing_steps(total: int, count: int) -> Row:
    """Evenly down from the last. Lin et al. 2023, arXiv:2305.08891, table 2."""
    return np.round(total - np.arange(count) * (total / count)) - 1


def sectioned_steps(total: int, count: int, sections: str = "") -> Row:
    """DiT's: see `respacing.kept_steps`. sections: numbers of steps joined by +."""
    counts = [int(part) if part.isdecimal() else 0 for part in sections.split("+")]
    if sections and (sum(counts) != count or 0 in counts):
        raise UserError(
            f"the sections {sections} of sample.grid are not sample.steps, {count}, in "
            "parts joined by +; give as many, such as 100+100+50 for 250"
        )
    return kept_steps(total, counts if sections else [count])[::-1] * 1.0


GRIDS: dict[str, Callable[..., Points]] = {
    "uniform": uniform,
    "karras": lambda *way, rho=7.0: by_noise(partial(karras, rho=rho), *way),
    "exponential": lambda *way: by_noise(exponential, *way),
    "beta": lambda *way, a=0.6, b=0.6: by_noise(partial(beta, a=a, b=b), *way),
    "linspace": lambda *way: on_steps(linspace_steps, *way),
    "leading": lambda *way: on_steps(leading_steps, *way),
    "trailing": lambda *way: on_steps(trailing_steps, *way),
    "respaced": lambda *way, sections="": on_steps(
        partial(sectioned_steps, sections=sections), *way
    ),
}
"""name -> `(process, steps, t_max, t_min)`, and its options, -> points."""
