"""DPM-Solver: multistep methods, exact but for how the belief changes along a step.

In l = log(alpha / sigma) the linear part of the ODE is solved exactly; what is left is
an integral of x0 (or of eps) against an exponential, for which orders 2 and 3 extend
the beliefs of the last calls as a polynomial. Lu et al. 2022: eps in arXiv:2206.00927,
x0 ("++") and the SDE forms in arXiv:2211.01095.
"""

from typing import NamedTuple

import numpy as np

from dit_jax.diffusion.points import Grid, Points
from dit_jax.diffusion.samplers.steps import Column, Steps, is_of_x0, make_of
from dit_jax.errors import NoAnswer, UserError, choose


class Weights(NamedTuple):
    """x_e = scale x_s + d0 D0 + d1 D1 + d2 D2 + noise z, with D0 the newest belief and
    D1, D2 its divided differences over a step of length 1; of order 2, without D2,
    `line` takes the place of d1."""

    scale: Column
    d0: Column
    line: Column
    d1: Column
    d2: Column
    noise: Column


def dpm_solver(
    grid: Grid,
    order: int = 2,
    *,
    believes: str = "x0",
    sde: bool = False,
    rule: str = "midpoint",
    low_order_end: bool = True,
    euler_at_end: bool = False,
) -> Steps:
    """DPM-Solver (believes "eps") and DPM-Solver++ (believes "x0"), orders 1 to 3.

    rule: how steps of order 2 weigh the change, "midpoint" or "heun"; those of order 3
    know one way.
    low_order_end: with fewer than 15 calls the last steps lower their order.
    euler_at_end: the last step has order 1; one to clean data always has.
    """
    if order not in (1, 2, 3):
        raise UserError(f"the order of DPM-Solver is {order}; choose 1, 2 or 3")
    weigh = _of_x0 if is_of_x0(believes) else _of_eps
    is_middle = choose({"midpoint": True, "heun": False}, rule, "the rule of order 2")
    weights = weigh(grid, sde, is_middle)
    with np.errstate(divide="ignore", invalid="ignore"):
        newest, older, oldest = _of_beliefs(grid, weights)
    reached = orders(len(grid), order, low_order_end)
    if euler_at_end or grid.ends.sigma[-1] == 0:
        reached[-1] = 1
    if sde and believes == "eps" and reached.max() == 3:
        raise UserError(
            "the SDE form of DPM-Solver in eps has orders 1 and 2; lower the order or "
            "choose the ++ form"
        )
    columns = [
        np.choose(reached - 1, column) for column in (newest, older, oldest)[:order]
    ]
    return make_of(
        believes, grid.calls, columns, of_x=weights.scale, of_noise=weights.noise
    )


def orders(num_calls: int, order: int, low_order_end: bool) -> np.ndarray:
    """The order of every step: a method starts with what it has seen."""
    reached = np.minimum(np.arange(num_calls) + 1, order)
    if low_order_end and num_calls < 15:
        reached = np.minimum(reached, np.arange(num_calls, 0, -1))
    return reached


def half_logsnr(points: Points) -> Column:
    with np.errstate(divide="ignore"):
        return np.log(points.alpha) - np.log(points.sigma)


def _lengths(grid: Grid) -> tuple[Column, Column, Column]:
    """Of this step, of the one before it and of the one before that, in l."""
    start = half_logsnr(grid.calls)
    with np.errstate(invalid="ignore"):
        this = half_logsnr(grid.ends) - start
        past = np.diff(start, prepend=np.nan)
    return this, past, np.append(np.nan, past[:-1])


def _of_beliefs(grid: Grid, weights: Weights) -> tuple[list[Column], ...]:
    """Weights of the newest belief, the one before and the one before that, each as
    columns for the orders 1, 2, 3."""
    h, h0, h1 = _lengths(grid)
    r0, r1 = h0 / h, h1 / h
    nothing = np.zeros(len(grid))
    second = weights.line / r0
    share = r0 / (r0 + r1)
    # of the newest divided difference and of the one before it
    near = (weights.d1 * (1 + share) + weights.d2 / (r0 + r1)) / r0
    far = -(weights.d1 * share + weights.d2 / (r0 + r1)) / r1
    return (
        [weights.d0, weights.d0 + second, weights.d0 + near],
        [nothing, -second, far - near],
        [nothing, nothing, -far],
    )


def _of_x0(grid: Grid, sde: bool, is_middle: bool) -> Weights:
    """arXiv:2211.01095, eq. 9 and appendix B; the SDE decays twice as fast."""
    alpha, sigma = grid.ends.alpha, grid.ends.sigma
    h, _, _ = _lengths(grid)
    decay = sigma * grid.calls.alpha / (alpha * grid.calls.sigma)  # exp(-h)
    k = 2 * h if sde else h
    gone = 1 - (decay**2 if sde else decay)
    with np.errstate(divide="ignore", invalid="ignore"):
        linear = alpha * (1 - gone / k)
        # the SDE's sign of 1 / 2 is that of diffusers, the one place that has it
        square = alpha * ((gone - k) / k**2 + (-0.5 if sde else 0.5))
    return Weights(
        scale=sigma / grid.calls.sigma * (decay if sde else 1),
        d0=alpha * gone,
        line=alpha * gone / 2 if is_middle else linear,
        d1=linear,
        d2=square,
        noise=sigma * np.sqrt(1 - decay**2) if sde else np.zeros(len(grid)),
    )


def _of_eps(grid: Grid, sde: bool, is_middle: bool) -> Weights:
    """arXiv:2206.00927, eq. 3.7 and appendix D; the SDE takes eps twice."""
    alpha, sigma = grid.ends.alpha, grid.ends.sigma
    if sde and sigma[-1] == 0:
        raise NoAnswer(
            "the SDE form of DPM-Solver in eps leaves noise on what should be clean "
            "data; end above 0 (sample.t_min), or choose the ++ form"
        )
    h, _, _ = _lengths(grid)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = alpha / grid.calls.alpha
        grown = scale * grid.calls.sigma - sigma  # sigma (exp(h) - 1)
        linear = grown / h - sigma
        square = (grown - sigma * h) / h**2 - sigma / 2
    times = 2 if sde else 1
    noise = np.sqrt(np.maximum((scale * grid.calls.sigma) ** 2 - sigma**2, 0))
    return Weights(
        scale=scale,
        d0=-times * grown,
        line=-times * (grown / 2 if is_middle else linear),
        d1=-times * linear,
        d2=-times * square,
        noise=noise if sde else np.zeros(len(grid)),
    )
