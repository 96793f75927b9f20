"""One way to sample: a denoiser, a sampler, a grid and noise."""

import dataclasses
import itertools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array

from dit_jax.diffusion.points import Grid, Points
from dit_jax.diffusion.predictions import PREDICTIONS, Coefficients
from dit_jax.diffusion.samplers.steps import Belief, Estimate, Noise, Way
from dit_jax.diffusion.streams import States, Streams, split_variance
from dit_jax.diffusion.times import FIRST_TRAINED, LAST_TRAINED
from dit_jax.errors import NoAnswer, UserError, choose
from dit_jax.types import Conditioning, DenoiseFn


@dataclasses.dataclass(frozen=True)
class Bound:
    """What is done to every x0, such as clipping it to [-1, 1].

    moves_eps: whether eps is read again off the new x0, so that the two fit together.
    """

    apply: Callable[[Array], Array]
    moves_eps: bool = True


def clipped(limit: float = 1.0, moves_eps: bool = True) -> Bound:
    """x0 within [-limit, limit]. moves_eps: see `Bound`."""
    if limit <= 0:
        raise UserError(f"x0 is clipped to {limit}; choose a limit above 0")
    return Bound(lambda x0: jnp.clip(x0, -limit, limit), moves_eps)


def thresholded(share: float = 0.995, largest: float = math.inf) -> Bound:
    """x0 within the quantile `share` of |x0|, from 1 to `largest`, and then divided by
    it; row by row. Saharia et al. 2022, arXiv:2205.11487, section 2.3 ("dynamic").
    """
    if not 0 < share <= 1 or largest < 1:
        raise UserError(
            f"x0 is thresholded at the share {share} and {largest} at most; choose a "
            "share in (0, 1] and 1 or more"
        )

    def apply(x0: Array) -> Array:
        sizes = jnp.abs(x0).reshape(len(x0), -1)
        limit = jnp.clip(jnp.quantile(sizes, share, axis=1), 1.0, largest)
        limit = limit.reshape(-1, *[1] * (x0.ndim - 1))
        return jnp.clip(x0, -limit, limit) / limit

    return Bound(apply)


CLIPS: dict[str, Callable[..., Bound | None]] = {
    "none": lambda: None,
    "clipped": clipped,
    "thresholded": thresholded,
}
"""What may be done to every x0."""


def sample(
    denoise_fn: DenoiseFn,
    sampler: Callable[[Grid], Way],
    grid: Grid,
    start: Streams,
    *,
    prediction: str,
    conditioning: Conditioning,
    noise: Noise | None = None,
    bound: Bound | None = None,
    keep: bool = False,
) -> States:
    """Takes `start`, unit normal noise at the grid's first call, to the grid's end.

    prediction: what the denoiser puts out; channels beyond those of `start` are its
    variance. noise: fresh unit normal noise of a row, for samplers that draw some.
    keep: every state instead of the last. The state is float32 at least.
    UserError where the prediction says nothing at a call of the grid, as eps says
    nothing about x0 where alpha is 0.
    """
    way = sampler(grid)
    require_sampleable(prediction, way)
    estimate = make_estimate(denoise_fn, prediction, conditioning, bound)
    return way.run(estimate, start, noise, keep=keep)


def planned(
    sampler: Callable[[Grid], Way],
    prediction: str,
    grid_between: Callable[[float, float], Grid],
    t_max: float | None,
    t_min: float | None,
) -> tuple[Grid, Way]:
    """The grid from `t_max` to `t_min` and the sampler's way along it.

    None is 1 and 0; or 0.999 and 0.001, if only there the grid, the sampler and the
    prediction have something to go by: eps says nothing of x0 where nothing is left of
    the data. UserError where there is no way, before anything is compiled.
    """
    firsts = (1.0, LAST_TRAINED) if t_max is None else (t_max,)
    lasts = (0.0, FIRST_TRAINED) if t_min is None else (t_min,)
    failed = None
    for last, first in itertools.product(lasts, firsts):
        try:
            grid = grid_between(first, last)
            way = sampler(grid)
            require_sampleable(prediction, way)
        except NoAnswer as error:
            failed = error
        else:
            return grid, way
    assert failed is not None, "there is an end to try"
    raise failed


def require_sampleable(prediction: str, way: Way) -> None:
    """NoAnswer if what a sampler asks for cannot be had at one of its calls."""
    row = choose(PREDICTIONS, prediction, "diffusion.prediction")
    with jax.ensure_compile_time_eval():
        points = Points(*(jnp.asarray(column, jnp.float32) for column in way.calls))
        nothing = jnp.zeros_like(points.t)
        if way.asks_x0:
            row.to_x0(nothing, nothing, coefficients(points))
        if way.asks_eps:
            row.to_eps(nothing, nothing, coefficients(points))


def coefficients(point: Points) -> Coefficients:
    return Coefficients(point.alpha, point.sigma, point.alpha_rate, point.sigma_rate)


def make_estimate(
    denoise_fn: DenoiseFn,
    prediction: str,
    conditioning: Conditioning,
    bound: Bound | None = None,
) -> Estimate:
    """What a denoiser believes; every row of the batch is at the same point."""
    row = choose(PREDICTIONS, prediction, "diffusion.prediction")
    again = PREDICTIONS["x0"]

    def estimate(xt: Streams, point: Points) -> Belief:
        times = jax.tree.map(lambda x: jnp.full(x.shape[:1], point.t), xt)
        out, variance = split_variance(denoise_fn(xt, times, conditioning), xt)
        out = jax.tree.map(lambda leaf, x: leaf.astype(x.dtype), out, xt)
        c = coefficients(point)
        x0 = jax.tree.map(lambda out, x: row.to_x0(out, x, c), out, xt)
        eps = jax.tree.map(lambda out, x: row.to_eps(out, x, c), out, xt)
        if bound is not None:
            x0 = jax.tree.map(bound.apply, x0)
            if bound.moves_eps:
                eps = jax.tree.map(lambda out, x: again.to_eps(out, x, c), x0, xt)
        return Belief(x0, eps, variance)

    return estimate
