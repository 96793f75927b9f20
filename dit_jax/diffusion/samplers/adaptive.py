"""Samplers that choose their own steps: Runge-Kutta pairs with error control.

They follow the probability-flow ODE, dx / dt = alpha' x0 + sigma' eps, between the ends
of a grid; its other points are only where states are shown. Unlike a table they ask at
times that nobody knows before, so they need the process.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from dit_jax.diffusion.points import Grid, Points, Row, joined, of_process
from dit_jax.diffusion.processes import Process
from dit_jax.diffusion.samplers.steps import Estimate, Noise
from dit_jax.diffusion.streams import Streams
from dit_jax.errors import NoAnswer, UserError, choose

SOLVERS: dict[str, Callable[[], diffrax.AbstractSolver]] = {
    "dopri5": diffrax.Dopri5,  # Dormand and Prince 1980
    "tsit5": diffrax.Tsit5,  # Tsitouras 2011
}


def _static() -> Any:
    return dataclasses.field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Adaptive:
    """Runs as `Steps` do, by an error-controlled solver.

    calls: the ends of the way; where it asks between them, the solver decides. shown:
    the times of the states that are kept.
    """

    calls: Points
    shown: Row | Array
    process: Process = _static()
    method: str = _static()
    rtol: float = _static()
    atol: float = _static()
    max_steps: int = _static()

    draws: ClassVar[bool] = False
    asks_x0: ClassVar[bool] = True
    asks_eps: ClassVar[bool] = True

    def run(
        self, estimate: Estimate, x: Streams, noise: Noise | None, *, keep: bool = False
    ) -> PyTree[Float[Array, "..."]]:
        """From `x` at the first call to the end of the grid, in float32 at least.

        keep: the states at the grid's ends, stacked, by the solver's interpolation.
        Where `max_steps` were too few, or a state is not finite, the result is nan.
        """
        dtype = jnp.promote_types(jnp.result_type(*jax.tree.leaves(x)), jnp.float32)
        first, last = jnp.asarray(self.calls.t, dtype)
        shown = jnp.asarray(self.shown, dtype)

        def slope(t: Any, x: Streams, _: Any) -> Streams:
            point = _at(self.process, t)
            believed = estimate(x, point)
            return jax.tree.map(
                lambda x0, eps: point.alpha_rate * x0 + point.sigma_rate * eps,
                believed.x0,
                believed.eps,
            )

        solved = diffrax.diffeqsolve(
            diffrax.ODETerm(slope),
            SOLVERS[self.method](),
            t0=first,
            t1=last,
            dt0=None,
            y0=jax.tree.map(lambda leaf: leaf.astype(dtype), x),
            saveat=diffrax.SaveAt(ts=shown if keep else shown[-1:]),
            stepsize_controller=diffrax.PIDController(rtol=self.rtol, atol=self.atol),
            max_steps=self.max_steps,
            throw=False,  # raising would need a callback to the host
        )
        arrived = solved.result == diffrax.RESULTS.successful
        states = jax.tree.map(lambda s: jnp.where(arrived, s, jnp.nan), solved.ys)
        return states if keep else jax.tree.map(lambda s: s[0], states)


def adaptive(
    grid: Grid,
    *,
    process: Process,
    method: str = "dopri5",
    rtol: float = 1e-3,
    atol: float = 1e-6,
    max_steps: int = 4096,
) -> Adaptive:
    """A method of `SOLVERS`; `partial(adaptive, process=...)` is a sampler.

    rtol, atol: of the error of a step, its root mean square over all rows, so that a
    row depends on its batch within the tolerances. SiT's defaults. UserError where the
    grid is not of the process, or the ODE infinitely steep at an end of it.
    """
    choose(SOLVERS, method, "the adaptive method")
    if not (rtol > 0 and atol > 0 and max_steps > 0):
        raise UserError(
            f"the tolerances are rtol {rtol} and atol {atol} and max_steps is "
            f"{max_steps}; all must be above 0"
        )
    ends = joined(grid.calls.rows(slice(1)), grid.ends.rows(slice(-1, None)))
    _require_of(process, ends)
    return Adaptive(ends, grid.ends.t, process, method, rtol, atol, max_steps)


def _at(process: Process, t: Float[Array, ""]) -> Points:
    rates = process.alpha_rate(t), process.sigma_rate(t)
    return Points(t, process.alpha(t), process.sigma(t), *rates)


def _require_of(process: Process, ends: Points) -> None:
    """UserError unless the ODE of the process runs between the ends."""
    wanted = of_process(process, np.asarray(ends.t))
    for ours, theirs in zip(_scalars(wanted), _scalars(ends), strict=True):
        if not np.all(np.isfinite([ours.alpha_rate, ours.sigma_rate])):
            raise NoAnswer(
                f"at t = {ours.t:.4g} the process changes infinitely fast, where no "
                "adaptive step can start or end; keep the grid away from it (t_max, "
                "t_min)"
            )
        if not np.allclose(ours[1:3], theirs[1:3], rtol=1e-5, atol=1e-7):
            raise NoAnswer(
                f"at t = {ours.t:.4g} the grid has alpha {theirs.alpha:.4g} and sigma "
                f"{theirs.sigma:.4g}, and the process {ours.alpha:.4g} and "
                f"{ours.sigma:.4g}; make the grid of this process, and end it at a "
                "t_min above 0 if the process has noise at 0"
            )


def _scalars(points: Points) -> list[Points]:
    return [Points(*row) for row in zip(*points, strict=True)]
