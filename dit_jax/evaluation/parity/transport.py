"""SiT's transport: its paths, training losses, and ODE and SDE samplers.

Times are SiT's, as in `interpolants`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from dit_jax.diffusion.losses import denoising_loss
from dit_jax.diffusion.points import Grid, of_process
from dit_jax.diffusion.predictions import PREDICTIONS, Coefficients
from dit_jax.diffusion.samplers import transport
from dit_jax.diffusion.samplers.adaptive import adaptive
from dit_jax.diffusion.streams import align
from dit_jax.diffusion.weightings import WEIGHTS, none
from dit_jax.errors import DataError
from dit_jax.evaluation.parity.golden import (
    Case,
    Measured,
    Outputs,
    Runner,
    Uncovered,
)
from dit_jax.evaluation.parity.interpolants import PATHS, Transport, one_of, read
from dit_jax.types import Conditioning


@dataclasses.dataclass(frozen=True)
class Solver:
    """An ODE method. rows: of our table a step; halved: it asks in a step's middle."""

    sampler: Callable[[Grid], Any] | None
    rows: int = 1
    halved: bool = False


SOLVERS: dict[str, Solver] = {
    "euler": Solver(transport.ode_euler),
    "heun2": Solver(transport.ode_heun, rows=2),
    "midpoint": Solver(transport.ode_midpoint, rows=2, halved=True),
    "dopri5": Solver(None),
}


def ode(case: Case) -> Outputs:
    """The probability-flow ODE from z, all its states."""
    options = read(
        case,
        path="Linear",
        prediction="velocity",
        train_eps=None,
        sample_eps=None,
        method=None,
        num_points=50,
        atol=1e-6,
        rtol=1e-3,
        reverse=False,
    )
    solver = one_of(SOLVERS, "method", options["method"])
    model = Transport.of(options)
    first, last = model.interval(model.sample_eps)
    if options["reverse"]:
        first, last = 1 - first, 1 - last
    times = np.linspace(first, last, at_least(2, options, "num_points"))
    asked = np.linspace(first, last, 2 * len(times) - 1) if solver.halved else times
    sampler = solver.sampler or partial(
        adaptive, process=model.process, rtol=options["rtol"], atol=options["atol"]
    )
    states, rounding = model.sampled(case, sampler, asked, None)
    start = case.inputs["z"][None]
    states = np.concatenate([start, states[solver.rows - 1 :: solver.rows]])
    return Measured({"samples": states, "t": times}, rounding)


FORMS = {name: name for name in transport.DIFFUSIONS} | {
    "inccreasing-decreasing": "increasing-decreasing"  # the reference's own spelling
}
LAST_STEPS = {None: "none", "Mean": "mean", "Euler": "euler", "Tweedie": "tweedie"}
SDES = {"Euler": (transport.sde_euler, 1), "Heun": (transport.sde_heun, 2)}


def sde(case: Case) -> Outputs:
    """An SDE from z with the noise of the case, and the step at its end without any."""
    options = read(
        case,
        path="Linear",
        prediction="velocity",
        train_eps=None,
        sample_eps=None,
        method="Euler",
        diffusion_form="SBDM",
        diffusion_norm=1.0,
        last_step="Mean",
        last_step_size=0.04,
        num_steps=250,
    )
    method, rows = one_of(SDES, "method", options["method"])
    form = one_of(FORMS, "diffusion_form", options["diffusion_form"])
    last_step = one_of(LAST_STEPS, "last_step", options["last_step"])
    size = 0.0 if options["last_step"] is None else options["last_step_size"]
    model = Transport.of(options)
    first, last = model.interval(model.sample_eps, form=form, last=size)
    times = np.linspace(first, last, at_least(2, options, "num_steps"))
    ends = times if last_step == "none" else np.append(times, last + size)
    noise = jnp.asarray(case.inputs["noise"])
    if len(noise) != len(times) - 1:
        raise DataError(
            f"in/noise is of {len(noise)} steps and num_steps is {len(times)}, which "
            f"has {len(times) - 1}"
        )
    sampler = partial(
        method, diffusion=form, norm=options["diffusion_norm"], last=last_step
    )
    # the last step takes none, and multiplies it by 0
    states, rounding = model.sampled(
        case,
        sampler,
        ends,
        lambda row: noise[jnp.minimum(row // rows, len(noise) - 1)],
    )
    noisy = rows * len(noise)
    after = states[noisy:] if len(states) > noisy else states[-1:]
    states = np.concatenate([states[rows - 1 : noisy : rows], after])
    return Measured({"samples": states, "t": times}, rounding)


def at_least(least: int, options: Mapping[str, Any], name: str) -> int:
    if options[name] < least:
        raise Uncovered(f"{name} is {options[name]}; covered are values from {least}")
    return options[name]


def path(case: Case) -> Outputs:
    """A path at given times, and its conversions between predictions."""
    options = read(case, path="Linear", norm=1.0)
    process = one_of(PATHS, "path", options["path"])
    for name in case.outputs:
        group, _, form = name.partition("/")
        if group == "diffusion":
            one_of(FORMS, "the diffusion form", form)
    times = case.inputs["t"]
    eps, x0 = (jnp.asarray(case.inputs[name]) for name in ("x0", "x1"))
    points = of_process(process, 1 - times.astype(np.float64))
    c = Coefficients(*(align(jnp.asarray(scale), x0) for scale in points[1:]))
    xt = process.add_noise(x0, eps, 1 - jnp.asarray(times))

    def converted(have: str, want: str, out: Array) -> Array:
        old, new = PREDICTIONS[have], PREDICTIONS[want]
        return new.target(old.to_x0(out, xt, c), old.to_eps(out, xt, c), c)

    found = {
        "alpha": points.alpha,
        "d_alpha": -points.alpha_rate,
        "sigma": points.sigma,
        "d_sigma": -points.sigma_rate,
        "d_alpha_over_alpha": -points.alpha_rate / points.alpha,
        "x_t": xt,
        "u_t": -PREDICTIONS["velocity"].target(x0, eps, c),
        "sde_drift": converted("score", "velocity", jnp.zeros_like(xt)),
        "sde_var": jnp.broadcast_to(
            align(jnp.asarray(transport.DIFFUSIONS["SBDM"](points, 1.0)), x0), x0.shape
        ),
    }
    if "velocity" in case.inputs:
        velocity = -jnp.asarray(case.inputs["velocity"])
        found["score_from_velocity"] = converted("velocity", "score", velocity)
        found["noise_from_velocity"] = converted("velocity", "eps", velocity)
    if "score" in case.inputs:
        score = jnp.asarray(case.inputs["score"])
        found["velocity_from_score"] = -converted("score", "velocity", score)
    for form, name in FORMS.items():
        diffusion = transport.DIFFUSIONS[name](points, options["norm"])
        found[f"diffusion/{form}"] = diffusion
    return {name: np.asarray(array) for name, array in found.items()}


def losses(case: Case) -> Outputs:
    """Times from uniform draws and losses, of every path, prediction and weight that
    the names of the outputs ask for."""
    options = read(case, train_eps=None, sample_eps=None)
    u, eps, x0 = (case.inputs[name] for name in ("u", "x0", "x1"))
    found = {}
    for name in case.outputs:
        kind, *of = name.split("/")
        if (kind, len(of)) not in (("t", 2), ("loss", 3)):
            raise Uncovered(f"output {name}; covered are t/* and loss/*")
        told = dict(zip(("path", "prediction"), of, strict=False))
        model = Transport.of(options | told)
        first, last = model.interval(model.train_eps)
        times = first + u.astype(np.float64) * (last - first)
        if kind == "t":
            found[name] = times
            continue
        weight = one_of(SIT_WEIGHTS, "the weight of the loss", of[2])
        is_velocity = model.prediction == "velocity"  # SiT does not weigh that one
        loss = denoising_loss(
            model.stand_in,
            model.process,
            model.stand_in.prediction,
            loss_in="velocity" if is_velocity else "eps",
            weight=none if is_velocity else weight,
            x0=jnp.asarray(x0),
            eps=jnp.asarray(eps),
            t=jnp.asarray(1 - times, jnp.float32),
            conditioning=Conditioning(),
        )
        found[name] = np.asarray(loss)
    return found


SIT_WEIGHTS = {name: WEIGHTS[name] for name in ("none", "velocity", "likelihood")}

KINDS: tuple[tuple[set[str], Runner], ...] = (
    ({"z", "noise"}, sde),
    ({"z"}, ode),
    ({"u", "x0", "x1"}, losses),
    ({"t", "x0", "x1"}, path),
)
"""The first whose inputs a case has."""


def runner(case: Case) -> Runner | None:
    """By system and by what the case holds; None where nothing covers it."""
    if case.system != "sit_transport":
        return None
    return next((run for needed, run in KINDS if needed <= set(case.inputs)), None)
