"""How strong guidance is: a number, or a function of time or of the step.

A denoiser knows t and not the number of a step, so a schedule over steps looks up the
call of its grid that is nearest to t. `SCHEDULES` names the ways, each
`(scale, grid, options) -> Scale`.
"""

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dit_jax.diffusion.points import Grid
from dit_jax.errors import UserError

Value: TypeAlias = float | int | Float[Array, "..."]
"""A number; or an array, a scalar or of the rank of what is guided, that may be traced:
one program then serves all values."""

Scale: TypeAlias = Value | Callable[[Float[Array, "..."]], Float[Array, "..."]]
"""A value, or `t -> values`, both shaped to multiply the data."""


def is_off(scale: Scale) -> bool:
    """Whether it is the number 1.0, known before anything is compiled."""
    return isinstance(scale, float | int) and scale == 1.0


def at(scale: Scale, t: Float[Array, "..."]) -> Float[Array, "..."]:
    """Its values at times t, float32."""
    return jnp.asarray(scale(t) if callable(scale) else scale, jnp.float32)


def constant(scale: Scale, grid: Grid) -> Scale:
    """The same at every step."""
    del grid
    return scale


def interval(scale: Scale, grid: Grid, low: float = 0.4, high: float = 1.0) -> Scale:
    """`scale` where low < t <= high, off elsewhere.

    Kynkaanniemi et al. 2024, arXiv:2404.07724, there in sigma; 0.4 to 1.0 are BAGEL's.
    """
    del grid
    if not 0 <= low < high <= 1:
        raise UserError(
            f"guidance acts from t = {low} to {high}; choose 0 <= low < high <= 1"
        )
    if is_off(scale):
        return scale
    return lambda t: jnp.where((t > low) & (t <= high), at(scale, t), 1.0)


def cosine(scale: Value, grid: Grid, power: float = 5.0) -> Scale:
    """1 at the first step, rising to 1 + scale: CogVideoX's "dynamic" guidance.

    1 + scale (1 - cos(pi (i / N)^power)) / 2 at step i of N; arXiv:2408.06072 (code).
    """
    if power <= 0:
        raise UserError(f"the power of cosine guidance is {power}; choose above 0")
    share = np.arange(len(grid)) / len(grid)
    return over_steps(1 + scale * (1 - np.cos(math.pi * share**power)) / 2, grid)


def oscillating(scale: Value, grid: Grid, start: int = 10) -> Scale:
    """From step `start` on, off at odd steps: Open-Sora 2, arXiv:2503.09642 (code)."""
    if start < 0:
        raise UserError(f"guidance oscillates from step {start}; choose 0 or more")
    if is_off(scale):
        return scale
    step = np.arange(len(grid))
    return over_steps(jnp.where((step < start) | (step % 2 == 0), scale, 1.0), grid)


def over_steps(
    values: Sequence[float] | Float[np.ndarray | Array, " S"], grid: Grid
) -> Callable[[Float[Array, "..."]], Float[Array, "..."]]:
    """The value of the step whose call is nearest in time.

    A method with two calls a step asks at the end of a step too, where the value is
    that of the next step.
    """
    if len(values) != len(grid):
        raise UserError(
            f"guidance has {len(values)} values and the grid {len(grid)} calls; give "
            "one a call"
        )
    calls = jnp.asarray(grid.calls.t, jnp.float32)

    def nearest(t: Float[Array, "..."]) -> Float[Array, "..."]:
        apart = jnp.abs(t[..., None] - calls.reshape((1,) * t.ndim + (-1,)))
        return jnp.asarray(values, jnp.float32)[jnp.argmin(apart, axis=-1)]

    return nearest


SCHEDULES: dict[str, Callable[..., Scale]] = {
    "constant": constant,
    "interval": interval,
    "cosine": cosine,
    "oscillating": oscillating,
}
