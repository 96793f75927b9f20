"""Samplers: from noise to data. A sampler is `(grid) -> Steps`; `SAMPLERS` names them.

A sampler sees no model, no process and no prediction type, only where its grid stands
and what is believed of (x0, eps) there. Notation: `dit_jax.diffusion.processes`.
"""

from collections.abc import Callable
from functools import partial

from dit_jax.diffusion.points import Grid
from dit_jax.diffusion.samplers.dpm_solver import dpm_solver
from dit_jax.diffusion.samplers.one_step import ancestral, ddim, ddpm, euler, renoised
from dit_jax.diffusion.samplers.steps import Steps
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

SAMPLERS: dict[str, Sampler] = {
    "euler": euler,
    "ddim": ddim,
    "ancestral": ancestral,
    "ddpm": ddpm,
    "ddpm_large": partial(ddpm, variance="fixed_large"),
    "ddpm_learned": partial(ddpm, variance="learned_range"),
    "renoised": renoised,
    "heun": heun,
    "edm": edm,
    "midpoint": midpoint,
    "dpm_2m": partial(dpm_solver, believes="eps"),
    "dpm_3m": partial(dpm_solver, order=3, believes="eps"),
    "dpmpp_2m": dpm_solver,
    "dpmpp_3m": partial(dpm_solver, order=3),
    "sde_dpmpp_2m": partial(dpm_solver, sde=True),
    "unipc_bh1": partial(unipc, variant="bh1"),
    "unipc": unipc,
    "unipc_3": partial(unipc, order=3),
    "ode_euler": ode_euler,
    "ode_heun": ode_heun,
    "ode_midpoint": ode_midpoint,
    "sde_euler": sde_euler,
    "sde_heun": sde_heun,
}
