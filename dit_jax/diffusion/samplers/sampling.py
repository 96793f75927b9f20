"""Samplers: from noise to data, along the probability-flow ODE or with fresh noise.

A sampler sees no model and no prediction type, only an `Estimate` of (x0, eps). The
ODE is solved as dx = x0 dalpha + eps dsigma (notation: `dit_jax.diffusion.processes`).
For rectified flow that is dx = velocity dt; for other processes it needs no rate of
alpha or sigma, which may be infinite, and a first-order step that ends at t = 0 gives
x0 exactly.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dit_jax.diffusion.predictions import convert
from dit_jax.diffusion.processes import Process
from dit_jax.diffusion.streams import Streams
from dit_jax.diffusion.times import require_shift, shift_time
from dit_jax.errors import UserError
from dit_jax.types import Conditioning, DenoiseFn

Estimate = Callable[[Streams, Array], tuple[Streams, Streams]]
"""`(xt, t) -> (x0, eps)`, one model call; t is a scalar."""

Step = Callable[[Estimate, Process, Streams, Array, Array], Streams]
"""`(estimate, process, xt, t, t_next) -> x at t_next`."""

FreshShare = Callable[[Process, Array, Array], Array]
"""`(process, t, t_next) -> share of the noise that is drawn anew`, in [0, 1]."""

FreshNoise = Callable[[Array], Streams]
"""`number of the step -> unit normal noise`, like what is sampled, row by row."""


def euler(
    estimate: Estimate, process: Process, xt: Streams, t: Array, t_next: Array
) -> Streams:
    """First order, one call: the estimate at t, noised again to t_next.

    For rectified flow xt + (t_next - t) velocity; for VP it is DDIM with eta 0
    (Song et al. 2020, arXiv:2010.02502, eq. 12).
    """
    x0, eps = estimate(xt, t)
    return process.add_noise(x0, eps, t_next)


def heun(
    estimate: Estimate, process: Process, xt: Streams, t: Array, t_next: Array
) -> Streams:
    """Second order, two calls: the mean of the slopes at t and at Euler's t_next.

    Karras et al. 2022, arXiv:2206.00364, algorithm 1, with dalpha and dsigma for dt.
    """
    x0, eps = estimate(xt, t)
    x0_next, eps_next = estimate(process.add_noise(x0, eps, t_next), t_next)
    x0 = jax.tree.map(lambda a, b: (a + b) / 2, x0, x0_next)
    eps = jax.tree.map(lambda a, b: (a + b) / 2, eps, eps_next)
    return advance(process, xt, x0, eps, t, t_next)


def advance(
    process: Process, xt: Streams, x0: Streams, eps: Streams, t: Array, t_next: Array
) -> Streams:
    """xt + x0 dalpha + eps dsigma: from t to t_next with the slopes held."""
    dalpha = process.alpha(t_next) - process.alpha(t)
    dsigma = process.sigma(t_next) - process.sigma(t)
    return jax.tree.map(lambda x, a, b: x + dalpha * a + dsigma * b, xt, x0, eps)


def posterior_share(process: Process, t: Array, t_next: Array) -> Array:
    """What makes a step a draw from q(x_next | xt, x0): 1 - share^2 is the square of
    (alpha sigma_next) / (alpha_next sigma). Ho et al. 2020, arXiv:2006.11239, eq. 7;
    DDIM's eta 1.
    """
    kept = process.alpha(t) * process.sigma(t_next)
    whole = process.alpha(t_next) * process.sigma(t)
    return jnp.sqrt(jnp.clip(1 - jnp.square(kept / whole), 0, 1))


@dataclasses.dataclass(frozen=True)
class Sampler:
    """A method: the step, and the last step where it is another one.

    fresh: the share of the believed noise that every step replaces; None is none, and
    the way from noise to data is then an ODE's.
    """

    step: Step
    last_step: Step | None = None
    fresh: FreshShare | None = None


SAMPLERS: dict[str, Sampler] = {
    "euler": Sampler(euler),
    # The last step ends at t = 0, where the second slope is 0 / 0.
    "heun": Sampler(heun, last_step=euler),
    # Ancestral sampling, DDPM's: what a step got wrong is drawn again.
    "ancestral": Sampler(euler, fresh=posterior_share),
}


def time_grid(
    num_steps: int, shift: float = 1.0, t_max: float = 1.0, t_min: float = 0.0
) -> Float[np.ndarray, " S"]:
    """num_steps + 1 falling times from t_max to t_min, both exact, float32.

    Evenly spaced, then shifted: a shift above 1 spends more steps near noise. Raises
    ValueError where neighbouring times would be equal.
    """
    if num_steps < 1:
        raise UserError(f"the number of steps is {num_steps}; it must be at least 1")
    if not 0 <= t_min < t_max <= 1:
        raise UserError(
            f"sampling times run from {t_max} to {t_min}; choose "
            "0 <= t_min < t_max <= 1"
        )
    require_shift(shift)
    shifted = shift_time(np.linspace(1.0, 0.0, num_steps + 1), shift)
    grid = (t_min + (t_max - t_min) * shifted).astype(np.float32)
    if not np.all(np.diff(grid) < 0):
        raise UserError(
            f"{num_steps} steps with shift {shift} give equal times in float32; "
            "lower the shift or the number of steps"
        )
    return grid


def require_sampleable(
    process: Process, prediction: str, grid: Float[np.ndarray, " S"]
) -> None:
    """ValueError if (x0, eps) cannot be had at a time of the grid before its end.

    An eps prediction says nothing about x0 at t = 1 of rectified flow, for example.
    """
    with jax.ensure_compile_time_eval():
        t = jnp.asarray(grid[:-1])
        for want in ("x0", "eps"):
            convert(prediction, want, process, jnp.zeros_like(t), jnp.zeros_like(t), t)


def make_estimate(
    denoise_fn: DenoiseFn,
    process: Process,
    prediction: str,
    conditioning: Conditioning,
) -> Estimate:
    """The (x0, eps) that a denoiser believes in; every row is at the same t."""

    def estimate(xt: Streams, t: Array) -> tuple[Streams, Streams]:
        times = jax.tree.map(lambda x: jnp.full(x.shape[:1], t), xt)
        out = denoise_fn(xt, times, conditioning)
        return (
            convert(prediction, "x0", process, out, xt, times),
            convert(prediction, "eps", process, out, xt, times),
        )

    return estimate


def _renewed(estimate: Estimate, share: Array, fresh: Streams) -> Estimate:
    """The estimate with a share of its noise replaced, which stays unit normal."""

    def renewed(xt: Streams, t: Array) -> tuple[Streams, Streams]:
        x0, eps = estimate(xt, t)
        kept = jnp.sqrt(1 - jnp.square(share))
        return x0, jax.tree.map(lambda e, z: kept * e + share * z, eps, fresh)

    return renewed


def sample(
    denoise_fn: DenoiseFn,
    sampler: Sampler,
    grid: Float[Array, " S"] | Float[np.ndarray, " S"],
    noise: Streams,
    *,
    process: Process,
    prediction: str,
    conditioning: Conditioning,
    fresh_noise: FreshNoise | None = None,
) -> Streams:
    """Takes `noise`, which stands at grid[0], to grid[-1]; the state is float32.

    noise, fresh_noise: unit normal, drawn per row by the caller; the latter for
    samplers that draw some at every step. Scale `noise` by sigma where grid[0] is well
    below 1. A grid from `time_grid` is checked against the prediction; a traced
    grid is not, so call `require_sampleable` before tracing.
    """
    if isinstance(grid, np.ndarray):
        require_sampleable(process, prediction, grid)
    estimate = make_estimate(denoise_fn, process, prediction, conditioning)
    grid = jnp.asarray(grid, jnp.float32)

    def body(x: Streams, step: tuple[Array, Array, Array]) -> tuple[Streams, None]:
        number, *times = step
        if sampler.fresh is None:
            return sampler.step(estimate, process, x, *times), None
        if fresh_noise is None:
            raise ValueError("this sampler draws noise at every step; pass fresh_noise")
        share = sampler.fresh(process, *times)
        renewed = _renewed(estimate, share, fresh_noise(number))
        return sampler.step(renewed, process, x, *times), None

    x = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), noise)
    num_scanned = len(grid) - 1 - (sampler.last_step is not None)
    numbers = jnp.arange(num_scanned)
    x, _ = jax.lax.scan(body, x, (numbers, grid[:-1][numbers], grid[1:][numbers]))
    if sampler.last_step is not None:
        x = sampler.last_step(estimate, process, x, grid[-2], grid[-1])
    return x
