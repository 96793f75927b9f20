"""Multistep schedulers of diffusers, on ratios or on flow times, and flow matching.

A flow time is both the time and sigma; alpha is what is left to 1.
"""

from functools import partial
from typing import Any

import numpy as np

from dit_jax.diffusion.points import Grid, Points, of_scales
from dit_jax.diffusion.samplers import Sampler, dpm_solver, euler, renoised, unipc
from dit_jax.diffusion.times import shift_time
from dit_jax.evaluation.parity import scheduler_tables as tables
from dit_jax.evaluation.parity.scheduler_options import Options, chosen
from dit_jax.evaluation.parity.scheduler_plans import (
    ENDS,
    Plan,
    bound_of,
    powers_of,
    prediction_of,
    preserving,
    whole_steps,
)
from dit_jax.evaluation.parity.scheduler_tables import Row

ALGORITHMS: dict[str, dict[str, Any]] = {
    "dpmsolver": {"believes": "eps", "sde": False},
    "dpmsolver++": {"believes": "x0", "sde": False},
    "sde-dpmsolver": {"believes": "eps", "sde": True},
    "sde-dpmsolver++": {"believes": "x0", "sde": True},
    "deis": {"believes": "x0", "sde": False},
}

# each of the two takes the other's names for its default
RULES = {name: "midpoint" for name in ("midpoint", "logrho", "bh1", "bh2")}
RULES |= {"heun": "heun"}
VARIANTS = {name: "bh2" for name in ("bh2", "midpoint", "heun", "logrho")}
VARIANTS |= {"bh1": "bh1"}


def plan_dpm_solver(o: Options) -> Plan:
    chosen(o, "variance_type", {None: None})
    ours = tables.above_zero(o, powers_of(o))
    power = tables.as_recorded(o, "alphas_cumprod", ours)
    table, total = tables.ratios(power), o["num_train_timesteps"]
    lawful = tables.between(o, table[::-1], o["num_steps"])
    if lawful is not None:
        sigmas, times = lawful, tables.times_of(lawful, table)
        is_rounded = o["use_karras_sigmas"] or o["use_lu_lambdas"]
        if is_rounded and o["beta_schedule"] != "squaredcos_cap_v2":
            times = times.round()
        else:
            times = tables.truncated(o, times)
    elif o["use_flow_sigmas"]:
        flow = 1 - np.linspace(1, 1 / total, o["num_steps"] + 1)
        shift = o["flow_shift"] if o["mu"] is None else np.exp(o["mu"])
        sigmas = shift_time(flow, shift)[:0:-1]
        times = tables.truncated(o, sigmas * total)
    else:
        times = whole_steps(o, last=tables.in_use(o, power), more=1)
        sigmas = np.interp(times, np.arange(total), table)
    algorithm = chosen(o, "algorithm_type", ALGORITHMS)
    sampler = partial(
        dpm_solver,
        order=min(o["solver_order"], 3),  # the third takes the place of higher ones
        rule=chosen(o, "solver_type", RULES),
        low_order_end=o["lower_order_final"],
        euler_at_end=o["euler_at_final"],
        **algorithm,
    )
    sigmas = np.append(sigmas, chosen(o, "final_sigmas_type", ENDS)(table))
    return _multistep(o, sampler, times, sigmas, ours, algorithm["believes"])


FLOW_MARGIN = 1e-6  # what a flow starts below 1, where nothing of the data is left


def plan_unipc(o: Options) -> Plan:
    chosen(o, "solver_p", {None: None})
    ours = tables.above_zero(o, powers_of(o))
    power = tables.as_recorded(o, "alphas_cumprod", ours)
    table, total = tables.ratios(power), o["num_train_timesteps"]
    given, count = o["sigmas"], o["num_steps"]
    among = table if given is None else np.asarray(given, np.float64)
    lawful = tables.between(o, among[::-1], count)
    if lawful is not None:
        sigmas, times = lawful, tables.times_of(lawful, among)
        if o["use_karras_sigmas"] and o["use_flow_sigmas"]:
            sigmas = sigmas / (sigmas + 1)
            times = tables.truncated(o, sigmas * total)
        elif o["use_karras_sigmas"]:
            times = times.round()
        else:
            times = tables.truncated(o, times)
        rising = sigmas[::-1]
    elif o["use_flow_sigmas"]:
        flow = np.linspace(1, 1 / total, count + 1)[:-1] if given is None else among
        flow = shift_time(flow, _shift(o, o["flow_shift"]))
        sigmas = tables.stretched(flow, o["shift_terminal"])
        if abs(sigmas[0] - 1) < FLOW_MARGIN:
            sigmas[0] -= FLOW_MARGIN
        times, rising = tables.truncated(o, sigmas * total), sigmas[::-1]
    else:
        times = whole_steps(o, more=1)
        sigmas, rising = np.interp(times, np.arange(total), table), table
    believes = "x0" if o["predict_x0"] else "eps"
    sampler = partial(
        unipc,
        order=o["solver_order"],
        variant=chosen(o, "solver_type", VARIANTS),
        believes=believes,
        low_order_end=o["lower_order_final"],
        uncorrected=o["disable_corrector"],
    )
    if not o["predict_x0"]:
        o = {**o, "thresholding": False}  # there is no x0 to bound
    sigmas = np.append(sigmas, chosen(o, "final_sigmas_type", ENDS)(rising))
    return _multistep(o, sampler, times, sigmas, ours, believes)


def _multistep(
    o: Options, sampler: Sampler, times: Row, sigmas: Row, power: Row, believes: str
) -> Plan:
    """Of times, and ratios or flow times with one more at the end."""
    sigmas = sigmas.astype(np.float32)
    prediction, is_flow = prediction_of(o), o["use_flow_sigmas"]
    points = (_flow if is_flow else preserving)(np.append(times, 0.0), sigmas)
    if prediction == "velocity":
        points = _read_as(points, 1.0, sigmas)  # a ratio too is taken for a flow time
    elif prediction == "v" and is_flow:
        # as if alpha^2 + sigma^2 were 1, in the formula of what is believed
        alpha, sigma = np.asarray(points.alpha), np.asarray(points.sigma)
        of_x = alpha if believes == "x0" else (1 - sigma**2) / alpha
        points, prediction = _read_as(points, of_x, sigma), "velocity"
    return Plan(
        Grid.along(points),
        (sampler,),
        prediction,
        bound_of(o),
        sigmas=sigmas,
        powers=power,
    )


def _flow(t: Row, sigma: Row) -> Points:
    """alpha + sigma = 1."""
    sigma = sigma.astype(np.float64)
    return of_scales(t, 1 - sigma, sigma)


def _read_as(points: Points, of_x: Row | float, of_out: Row) -> Points:
    """With rates under which a velocity is read as x0 = of_x xt - of_out out."""
    with np.errstate(divide="ignore", invalid="ignore"):  # nothing is read at the end
        wronskian = points.sigma / of_out
        rise = of_x * wronskian
        fall = (points.alpha * rise - wronskian) / points.sigma
    return points._replace(alpha_rate=fall, sigma_rate=rise)


def plan_flow_match(o: Options) -> Plan:
    total, shift = o["num_train_timesteps"], _shift(o, o["shift"])
    if o["sigmas"] is not None:
        flow = np.asarray(o["sigmas"], np.float32)
    elif o["timesteps"] is not None:
        flow = np.asarray(o["timesteps"], np.float32) / total
    else:
        ends = np.array([1, 1 / total], np.float32)
        if not o["use_dynamic_shifting"]:
            ends = shift_time(ends, shift)  # the first of two times
        first, last = ends.astype(np.float64) * total
        flow = np.linspace(first, last, o["num_steps"]) / total
    flow = tables.stretched(shift_time(flow, shift), o["shift_terminal"])
    lawful = tables.between(o, flow, len(flow))
    flow, end = (flow if lawful is None else lawful).astype(np.float32), 0.0
    if o["invert_sigmas"]:
        flow, end = 1 - flow, 1.0
    times = flow * np.float32(total)
    if o["timesteps"] is not None and not o["invert_sigmas"]:
        times = np.asarray(o["timesteps"], np.float32)
    sigmas = np.append(flow, np.float32(end))
    points, ones = _flow(np.append(times, 0.0), sigmas), np.ones(len(sigmas))
    return Plan(
        Grid.along(points._replace(alpha_rate=-ones, sigma_rate=ones)),
        (renoised if o["stochastic_sampling"] else euler,),
        "velocity",
        init_noise=None,
        sigmas=sigmas,
    )


def _shift(o: Options, fixed: float) -> float:
    """Of flow times."""
    if not o["use_dynamic_shifting"]:
        return fixed
    return chosen(o, "time_shift_type", tables.DYNAMIC_SHIFTS)(o["mu"])
