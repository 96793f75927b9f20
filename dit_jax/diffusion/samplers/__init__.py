"""Samplers: from noise to data. A sampler is `(grid) -> Steps`; `SAMPLERS` names them.

A sampler sees no model, no process and no prediction type, only where its grid stands
and what is believed of (x0, eps) there. Notation: `dit_jax.diffusion.processes`.
"""

from collections.abc import Callable
from functools import partial

from dit_jax.diffusion import options
from dit_jax.diffusion.points import Grid
from dit_jax.diffusion.processes import Process
from dit_jax.diffusion.samplers.adaptive import SOLVERS, adaptive
from dit_jax.diffusion.samplers.dpm_solver import dpm_solver
from dit_jax.diffusion.samplers.one_step import ancestral, ddim, ddpm, euler, renoised
from dit_jax.diffusion.samplers.sampling import (
    CLIPS,
    Bound,
    clipped,
    make_estimate,
    planned,
    require_sampleable,
    sample,
)
from dit_jax.diffusion.samplers.steps import Noise, Steps, Way
from dit_jax.diffusion.samplers.transport import (
    ode_euler,
    ode_heun,
    ode_midpoint,
    sde_euler,
    sde_heun,
)
from dit_jax.diffusion.samplers.two_calls import edm, heun, midpoint
from dit_jax.diffusion.samplers.unipc import unipc

Sampler = Callable[[Grid], Steps]
"""What makes a table of a grid."""

__all__ = [
    "CLIPS",
    "SAMPLERS",
    "Bound",
    "Noise",
    "Sampler",
    "Steps",
    "Way",
    "choose_sampler",
    "clipped",
    "make_estimate",
    "planned",
    "require_sampleable",
    "sample",
]

SAMPLERS: dict[str, Callable[..., Steps]] = {
    "euler": euler,
    "ddim": ddim,
    "ancestral": ancestral,
    "ddpm": ddpm,
    "renoised": renoised,
    "heun": heun,
    "edm": edm,
    "midpoint": midpoint,
    "dpm_2m": partial(dpm_solver, believes="eps"),
    "dpm_3m": partial(dpm_solver, order=3, believes="eps"),
    "dpmpp_2m": dpm_solver,
    "dpmpp_3m": partial(dpm_solver, order=3),
    "sde_dpm_2m": partial(dpm_solver, believes="eps", sde=True),
    "sde_dpmpp_2m": partial(dpm_solver, sde=True),
    "unipc": unipc,
    "unipc_3": partial(unipc, order=3),
    "ode_euler": ode_euler,
    "ode_heun": ode_heun,
    "ode_midpoint": ode_midpoint,
    "sde_euler": sde_euler,
    "sde_heun": sde_heun,
}


def choose_sampler(text: str, process: Process) -> Callable[[Grid], Way]:
    """A row of `SAMPLERS` with its options, such as `ddim:eta=0.5`, or an adaptive
    method of `adaptive.SOLVERS`, such as `dopri5:rtol=1e-4`, which follows `process`.
    """
    rows: dict[str, Callable[..., Way]] = dict(SAMPLERS)
    for name in SOLVERS:
        rows[name] = partial(adaptive, process=process, method=name)
    return options.read(rows, text, "sample.sampler")
