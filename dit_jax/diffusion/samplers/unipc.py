"""UniPC: a multistep predictor, and a corrector that costs no call of its own.

The belief at the end of a step, which the next step asks for anyway, corrects the step
itself. Zhao et al. 2023, arXiv:2302.04867, algorithms 1 to 4.
"""

import math
from collections.abc import Callable, Collection
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from dit_jax.diffusion.points import Grid
from dit_jax.diffusion.samplers.dpm_solver import half_logsnr, orders
from dit_jax.diffusion.samplers.steps import Steps, is_of_x0, make_of
from dit_jax.errors import UserError, choose

Bh = Callable[[float], float]

BH: dict[str, Bh] = {"bh1": lambda h: h, "bh2": np.expm1}
"""B(h) of the paper's eq. 12."""


def unipc(
    grid: Grid,
    order: int = 2,
    *,
    variant: str = "bh2",
    believes: str = "x0",
    low_order_end: bool = True,
    uncorrected: Collection[int] = (),
) -> Steps:
    """UniPC of any order, on x0 or eps; 2 and 3 are in use.

    variant: "bh1" or "bh2". low_order_end: the last steps lower their order.
    uncorrected: numbers of steps that the call after them does not correct.
    """
    if order < 1:
        raise UserError(f"the order of UniPC is {order}; choose 1 or more, mostly 2")
    of_x0 = is_of_x0(believes)
    b_of = choose(BH, variant, "the variant of UniPC")
    reached = orders(len(grid), order, low_order_end=False)
    if low_order_end:
        reached = np.minimum(reached, np.arange(len(grid), 0, -1))
    of_x, of_belief = np.zeros(len(grid)), np.zeros((len(grid), order + 1))
    with np.errstate(invalid="ignore", divide="ignore"):  # of a last step of length 0
        steps = [_step(grid, i, int(n), of_x0, b_of) for i, n in enumerate(reached)]
    for i, step in enumerate(steps):
        of_x[i] = step.scale
        of_belief[i, : reached[i]] = step.predictor
        if i > 0 and i - 1 not in uncorrected:
            correction = steps[i - 1].correction
            of_belief[i, : len(correction)] += step.scale * correction
    return make_of(believes, grid.calls, list(of_belief.T), of_x=of_x)


class _Step(NamedTuple):
    """x_e = scale x_s + predictor . beliefs, and what the belief at e adds to x_e:
    correction . (that belief, beliefs). Newest first."""

    scale: float
    predictor: Float[np.ndarray, " order"]
    correction: Float[np.ndarray, " order+1"]


def _step(grid: Grid, i: int, order: int, of_x0: bool, b_of: Bh) -> _Step:
    start, end = grid.calls.rows(slice(i, i + 1)), grid.ends.rows(slice(i, i + 1))
    alpha, sigma = end.alpha[0] / start.alpha[0], end.sigma[0] / start.sigma[0]
    past = half_logsnr(grid.calls)[i - order + 1 : i + 1][::-1]
    h = half_logsnr(end)[0] - past[0]
    if of_x0:
        scale, size, signed = sigma, end.alpha[0], -h
        newest = end.alpha[0] - sigma * start.alpha[0]
    else:
        scale, size, signed = alpha, end.sigma[0], h
        newest = end.sigma[0] - alpha * start.sigma[0]
    # where the older beliefs stand, in steps from the newest; none infinitely far
    where = np.maximum((past[1:] - past[0]) / h, -1e8)
    predicting, correcting = _rho(where, signed, b_of(signed))
    weight = -size * b_of(signed)
    predictor = np.append(newest, np.zeros(order - 1))
    if order > 1:
        predictor += weight * _differences(predicting / where)
    change = (correcting[:-1] - predicting) / where
    last, new, *older = weight * _differences(np.append(correcting[-1], change))
    return _Step(scale, predictor, np.array([new, last, *older]))


def _differences(shares: Float[np.ndarray, " K"]) -> Float[np.ndarray, " K+1"]:
    """Weights of (newest, older ...) in the sum of shares times (older - newest)."""
    return np.concatenate([[-shares.sum()], shares])


def _rho(
    where: Float[np.ndarray, " K"], h: float, b: float
) -> tuple[Float[np.ndarray, " K"], Float[np.ndarray, " K+1"]]:
    """The predictor's and the corrector's weights of the divided differences; eq. 11,
    with the paper's shortcuts of 1/2 for one difference."""
    powers, right = np.vander([*where, 1.0], increasing=True).T, []
    phi = np.expm1(h) / h - 1
    for k in range(1, len(powers) + 1):
        right.append(phi * math.factorial(k) / b)
        phi = phi / h - 1 / math.factorial(k + 1)
    count = len(where)
    if count < 2:
        predicting = np.full(count, 0.5)
    else:
        predicting = np.linalg.solve(powers[:-1, :-1], right[:-1])
    correcting = np.linalg.solve(powers, right) if count else np.array([0.5])
    return predicting, correcting
