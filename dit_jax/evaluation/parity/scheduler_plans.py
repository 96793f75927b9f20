"""What each scheduler of diffusers is in our terms: a grid, a sampler, a prediction.

Their states are ours, but for the classes of Karras et al., whose states are x / alpha.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from dit_jax.diffusion.points import Grid, Points, of_scales
from dit_jax.diffusion.posteriors import posterior_variance
from dit_jax.diffusion.samplers import (
    Sampler,
    ddim,
    ddpm,
    dpm_solver,
    edm,
    euler,
    renoised,
    unipc,
)
from dit_jax.diffusion.samplers.sampling import Bound, clipped, thresholded
from dit_jax.diffusion.times import shift_time
from dit_jax.evaluation.parity import scheduler_options as names
from dit_jax.evaluation.parity import scheduler_tables as tables
from dit_jax.evaluation.parity.scheduler_options import Options, chosen
from dit_jax.evaluation.parity.scheduler_tables import Row


@dataclasses.dataclass(frozen=True)
class Plan:
    """A case in our terms.

    samplers: one, or others that differ by the reference's last digits.
    in_ratios: the reference's state is ours divided by alpha.
    init_noise: what it says the first state is to be multiplied by, if anything.
    sigmas, powers: its tables.
    """

    grid: Grid
    samplers: tuple[Sampler, ...]
    prediction: str
    bound: Bound | None = None
    in_ratios: bool = False
    init_noise: float | None = 1.0
    sigmas: Row | None = None
    powers: Row | None = None

    def unit(self, points: Points) -> Row:
        """Their state over ours."""
        return (
            1 / np.asarray(points.alpha) if self.in_ratios else np.ones(len(points.t))
        )


PREDICTIONS = {
    "epsilon": "eps",
    "sample": "x0",
    "original_sample": "x0",
    "v_prediction": "v",
    "flow_prediction": "velocity",
}


def _prediction(o: Options) -> str:
    return chosen(o, "prediction_type", PREDICTIONS)


def _bound(o: Options, *, moves_eps: bool = True) -> Bound | None:
    if o["thresholding"]:
        bound = thresholded(o["dynamic_thresholding_ratio"], o["sample_max_value"])
    elif o["clip_sample"]:
        bound = clipped(o["clip_sample_range"])
    else:
        return None
    return dataclasses.replace(bound, moves_eps=moves_eps)


def _powers(o: Options) -> Row:
    return tables.powers(o, chosen(o, "beta_schedule", tables.BETAS))


def _spacing(o: Options) -> tables.Spacing:
    return chosen(o, "timestep_spacing", tables.SPACINGS)


# Steps of the training process.

VARIANCES = {  # a learned one needs more channels than the stand-in has
    "fixed_small": "fixed_small",
    "fixed_small_log": "fixed_small",
    "fixed_large": "fixed_large",
}


def _ddpm(o: Options) -> Plan:
    ours = _powers(o)
    power, steps = tables.as_recorded(o, "alphas_cumprod", ours), _steps(o)
    variance = chosen(o, "variance_type", VARIANCES)
    return Plan(
        Grid.to_data(_of_powers(steps, power[steps])),
        (partial(ddpm, variance=variance, noisy_end=bool(steps[-1] > 0)),),
        _prediction(o),
        _bound(o),
        powers=ours,
    )


def _ddim(o: Options) -> Plan:
    """Steps lead to T // N below, which may not be where the next one starts."""
    ours = _powers(o)
    power, steps = tables.as_recorded(o, "alphas_cumprod", ours), _steps(o)
    before = steps - o["num_train_timesteps"] // o["num_steps"]
    last = 1.0 if o["set_alpha_to_one"] else power[0]
    ends = _of_powers(before, np.where(before >= 0, power[before], last))
    grid = Grid(_of_powers(steps, power[steps]), ends)
    return Plan(
        grid,
        _drawing(o["eta"], grid, np.ones(len(grid))),
        _prediction(o),
        _bound(o, moves_eps=o["use_clipped_model_output"]),
        powers=ours,
    )


def _steps(o: Options, **how: int) -> np.ndarray:
    steps = o["timesteps"]
    if steps is None:
        steps = tables.spaced(o, _spacing(o), **how).round()
    return np.asarray(steps, np.int64)


def _of_powers(t: Row, power: Row) -> Points:
    power = power.astype(np.float64)
    return of_scales(t, np.sqrt(power), np.sqrt(1 - power))


LITTLE = 1e-3
ROUNDINGS = (0, 1, -1, 2, -2, 3, -3, 4, -4)


def _drawing(eta: float, grid: Grid, unit: Row) -> tuple[Sampler, ...]:
    """DDIM; and where little of the old noise is left, DDIM as float32 may have it.

    What is left is the difference of the noise's power and of what is drawn, `unit`^2
    times ours, and so a multiple of their last digit: which one, a square root's last
    digit decides, and that is the machine's.
    """
    plain = partial(ddim, eta=eta)
    power, variance = np.asarray(grid.ends.sigma) ** 2, posterior_variance(grid)
    left = np.maximum(power - eta**2 * variance, 0)
    is_little = (left < LITTLE * power) & (variance > 0)
    if not is_little.any():
        return (plain,)
    digit = np.spacing((power * unit**2).astype(np.float32)) / unit**2
    samplers: list[Sampler] = [plain]
    for more in ROUNDINGS:
        rounded = np.clip((np.round(left / digit) + more) * digit, 0, power)
        drawn = np.divide(power - rounded, variance, out=0 * power, where=is_little)
        samplers.append(partial(ddim, eta=np.where(is_little, np.sqrt(drawn), eta)))
    return tuple(samplers)


# Steps in sigma / alpha, with which x0 + sigma eps is the state.


def _euler(o: Options) -> Plan:
    return _in_ratios(o, lambda grid: (euler,))


def _ancestral(o: Options) -> Plan:
    return _in_ratios(
        o, lambda grid: _drawing(1.0, grid, 1 / np.asarray(grid.ends.alpha))
    )


def _heun(o: Options) -> Plan:
    plan = _in_ratios(o, lambda grid: (edm,))
    assert plan.sigmas is not None, "every plan in ratios has some"
    # both calls of a step, where the last has one
    return dataclasses.replace(plan, sigmas=np.repeat(plan.sigmas, 2)[1:-1])


def _in_ratios(o: Options, samplers: Callable[[Grid], tuple[Sampler, ...]]) -> Plan:
    ours = tables.above_zero(o, _powers(o))
    power = tables.as_recorded(o, "alphas_cumprod", ours)
    times, sigmas = _ratios_called(o, tables.ratios(power))
    # one that is spaced in logarithms has a ratio more than it walks to
    walked = sigmas[: len(times) + 1]
    grid = Grid.along(_preserving(np.append(times, 0.0), walked))
    largest = sigmas.max()
    starts_there = o["timestep_spacing"] in ("linspace", "trailing")
    return Plan(
        grid,
        samplers(grid),
        _prediction(o),
        _bound(o),
        in_ratios=True,
        init_noise=float(largest if starts_there else np.sqrt(largest**2 + 1)),
        sigmas=sigmas,
        powers=ours,
    )


INTERPOLATIONS: dict[str, Callable[[Row, Row, int], Row]] = {
    "linear": lambda times, table, count: np.interp(
        times, np.arange(len(table)), table
    ),
    "log_linear": lambda times, table, count: np.exp(
        tables.linspace(np.log(table[-1]), np.log(table[0]), count + 1)
    ),
}

ENDS: dict[str, Callable[[float], float]] = {
    "zero": lambda smallest: 0.0,
    "sigma_min": lambda smallest: smallest,
}

HEARS_LOGS = {"discrete": False, "continuous": True}


def _ratios_called(o: Options, table: Row) -> tuple[Row, Row]:
    """Times, and ratios with the one that the last step leads to; float32."""
    if o["sigmas"] is not None:
        sigmas = np.asarray(o["sigmas"], np.float32)
        times = tables.times_of(sigmas[:-1], table)
    else:
        times = o["timesteps"]
        if times is None:
            times = tables.spaced(o, _spacing(o))
        times, count = np.asarray(times, np.float32), o["num_steps"]
        sigmas = chosen(o, "interpolation_type", INTERPOLATIONS)(times, table, count)
        lawful = tables.between(o, sigmas[0], sigmas[-1], count)
        if lawful is not None:
            sigmas, times = lawful, tables.times_of(lawful, table)
        end = chosen(o, "final_sigmas_type", ENDS)(table[0])
        sigmas = np.append(sigmas, end).astype(np.float32)
    hears_logs = chosen(o, "timestep_type", HEARS_LOGS)
    if hears_logs and o["prediction_type"] == "v_prediction":
        times = 0.25 * np.log(sigmas[:-1])
    return times.astype(np.float32), sigmas


def _preserving(t: Row, ratio: Row) -> Points:
    """alpha^2 + sigma^2 = 1."""
    ratio = ratio.astype(np.float64)
    alpha = 1 / np.sqrt(1 + ratio**2)
    return of_scales(t, alpha, ratio * alpha)


# Multistep methods.

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


def _dpm_solver(o: Options) -> Plan:
    chosen(o, "variance_type", {None: None})
    ours = tables.above_zero(o, _powers(o))
    power = tables.as_recorded(o, "alphas_cumprod", ours)
    table, total = tables.ratios(power), o["num_train_timesteps"]
    lawful = tables.between(o, table[-1], table[0], o["num_steps"])
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
        times = _steps(o, last=tables.in_use(o, power), more=1)
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
    sigmas = np.append(sigmas, chosen(o, "final_sigmas_type", ENDS)(table[0]))
    return _multistep(o, sampler, times, sigmas, ours, algorithm["believes"])


FLOW_MARGIN = 1e-6  # what a flow starts below 1, where nothing of the data is left


def _unipc(o: Options) -> Plan:
    chosen(o, "solver_p", {None: None})
    ours = tables.above_zero(o, _powers(o))
    power = tables.as_recorded(o, "alphas_cumprod", ours)
    table, total = tables.ratios(power), o["num_train_timesteps"]
    given, count = o["sigmas"], o["num_steps"]
    among = table if given is None else np.asarray(given, np.float64)
    lawful = tables.between(o, among[-1], among[0], count)
    if lawful is not None:
        sigmas, times = lawful, tables.times_of(lawful, among)
        if o["use_karras_sigmas"] and o["use_flow_sigmas"]:
            sigmas = sigmas / (sigmas + 1)
            times = tables.truncated(o, sigmas * total)
        elif o["use_karras_sigmas"]:
            times = times.round()
        else:
            times = tables.truncated(o, times)
        smallest = sigmas[-1]
    elif o["use_flow_sigmas"]:
        flow = np.linspace(1, 1 / total, count + 1)[:-1] if given is None else among
        flow = shift_time(flow, _shift(o, o["flow_shift"]))
        sigmas = tables.stretched(flow, o["shift_terminal"])
        if abs(sigmas[0] - 1) < FLOW_MARGIN:
            sigmas[0] -= FLOW_MARGIN
        times, smallest = tables.truncated(o, sigmas * total), sigmas[-1]
    else:
        times = _steps(o, more=1)
        sigmas, smallest = np.interp(times, np.arange(total), table), table[0]
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
    sigmas = np.append(sigmas, chosen(o, "final_sigmas_type", ENDS)(smallest))
    return _multistep(o, sampler, times, sigmas, ours, believes)


def _multistep(
    o: Options, sampler: Sampler, times: Row, sigmas: Row, power: Row, believes: str
) -> Plan:
    """Of times, and ratios or flow times with one more at the end."""
    sigmas = sigmas.astype(np.float32)
    prediction, is_flow = _prediction(o), o["use_flow_sigmas"]
    points = (_flow if is_flow else _preserving)(np.append(times, 0.0), sigmas)
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
        _bound(o),
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


# Flow matching.


def _flow_match(o: Options) -> Plan:
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
    lawful = tables.between(o, flow[0], flow[-1], len(flow))
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


@dataclasses.dataclass(frozen=True)
class Kind:
    """A class: how a plan is made of its options; which of the defaults it takes and
    where its own differ; what its set_timesteps is told; and the options of a step."""

    build: Callable[[Options], Plan]
    takes: str
    differs: Options = dataclasses.field(default_factory=dict)
    told: str = ""
    each_step: Options = dataclasses.field(default_factory=dict)


LEADING = {"timestep_spacing": "leading", "clip_sample": True}

KINDS: dict[str, Kind] = {
    "DDPMScheduler": Kind(
        _ddpm,
        f"{names.DISCRETE} {names.CLIP} {names.THRESHOLD} variance_type",
        LEADING | {"variance_type": "fixed_small"},
        told="timesteps",
    ),
    "DDIMScheduler": Kind(
        _ddim,
        f"{names.DISCRETE} {names.CLIP} {names.THRESHOLD} set_alpha_to_one",
        LEADING,
        each_step={"eta": 0.0, "use_clipped_model_output": False},
    ),
    "EulerDiscreteScheduler": Kind(
        _euler,
        f"""{names.DISCRETE} {names.LAWS} {names.RANGE} interpolation_type
        timestep_type final_sigmas_type""",
        told="timesteps sigmas",
    ),
    "EulerAncestralDiscreteScheduler": Kind(_ancestral, names.DISCRETE),
    "HeunDiscreteScheduler": Kind(
        _heun,
        f"{names.BETAS} {names.LAWS} {names.CLIP}",
        {"beta_start": 0.00085, "beta_end": 0.012},
        told="timesteps",
    ),
    "DPMSolverMultistepScheduler": Kind(
        _dpm_solver,
        f"""{names.SOLVER} algorithm_type euler_at_final use_lu_lambdas
        lambda_min_clipped variance_type""",
        told="timesteps mu",
    ),
    "UniPCMultistepScheduler": Kind(
        _unipc,
        f"""{names.SOLVER} {names.RANGE} predict_x0 disable_corrector solver_p
        shift_terminal""",
        {"solver_type": "bh2"},
        told="sigmas mu",
    ),
    "FlowMatchEulerDiscreteScheduler": Kind(
        _flow_match,
        f"""{names.LAWS} {names.DYNAMIC} {names.PIPELINES} num_train_timesteps shift
        shift_terminal invert_sigmas stochastic_sampling""",
        told="timesteps sigmas mu",
    ),
}
