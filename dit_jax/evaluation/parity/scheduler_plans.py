"""What a scheduler of diffusers is in our terms: a grid, a sampler, a prediction.

Here are those of whole training steps, and those after Karras et al. whose states are
x / alpha; `scheduler_flows` has the others.
"""

import dataclasses
from collections.abc import Callable
from functools import partial

import numpy as np

from dit_jax.diffusion.points import Grid, Points, of_scales
from dit_jax.diffusion.posteriors import forward_variance, posterior_variance
from dit_jax.diffusion.samplers import (
    Sampler,
    Steps,
    ddim,
    ddpm,
    edm,
    euler,
)
from dit_jax.diffusion.samplers.sampling import Bound, clipped, thresholded
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


def prediction_of(o: Options) -> str:
    return chosen(o, "prediction_type", PREDICTIONS)


def bound_of(o: Options, *, moves_eps: bool = True) -> Bound | None:
    if o["thresholding"]:
        bound = thresholded(o["dynamic_thresholding_ratio"], o["sample_max_value"])
    elif o["clip_sample"]:
        bound = clipped(o["clip_sample_range"])
    else:
        return None
    return dataclasses.replace(bound, moves_eps=moves_eps)


def powers_of(o: Options) -> Row:
    return tables.powers(o, chosen(o, "beta_schedule", tables.BETAS))


def spacing_of(o: Options) -> tables.Spacing:
    return chosen(o, "timestep_spacing", tables.SPACINGS)


# Steps of the training process.

VARIANCES = {  # a learned one needs more channels than the stand-in has
    "fixed_small": "fixed_small",
    "fixed_small_log": "fixed_small",
    "fixed_large": "fixed_large",
}


def plan_ddpm(o: Options) -> Plan:
    ours = powers_of(o)
    power, steps = tables.as_recorded(o, "alphas_cumprod", ours), whole_steps(o)
    variance = chosen(o, "variance_type", VARIANCES)
    return Plan(
        Grid.to_data(_of_powers(steps, power[steps])),
        (partial(_ddpm, variance=variance, is_noisy=bool(steps[-1] > 0)),),
        prediction_of(o),
        bound_of(o),
        powers=ours,
    )


def plan_ddim(o: Options) -> Plan:
    """Steps lead to T // N below, which may not be where the next one starts."""
    ours = powers_of(o)
    power, steps = tables.as_recorded(o, "alphas_cumprod", ours), whole_steps(o)
    before = steps - o["num_train_timesteps"] // o["num_steps"]
    last = 1.0 if o["set_alpha_to_one"] else power[0]
    ends = _of_powers(before, np.where(before >= 0, power[before], last))
    grid = Grid(_of_powers(steps, power[steps]), ends)
    return Plan(
        grid,
        _drawing(o["eta"], grid, np.ones(len(grid))),
        prediction_of(o),
        bound_of(o, moves_eps=o["use_clipped_model_output"]),
        powers=ours,
    )


def _ddpm(grid: Grid, variance: str, is_noisy: bool) -> Steps:
    """Which draws noise of the forward step's variance on clean data, if that is the
    larger one and the last step called is not the process's first."""
    steps = ddpm(grid, variance)
    if not is_noisy or variance != "fixed_large":
        return steps
    noise = np.sqrt(forward_variance(grid))
    return dataclasses.replace(steps, of_noise=noise, draws=True)


def whole_steps(o: Options, **how: int) -> np.ndarray:
    steps = o["timesteps"]
    if steps is None:
        steps = tables.spaced(o, spacing_of(o), **how).round()
    return np.asarray(steps, np.int64)


def _of_powers(t: Row, power: Row) -> Points:
    power = power.astype(np.float64)
    return of_scales(t.astype(np.float64), np.sqrt(power), np.sqrt(1 - power))


LITTLE = 1e-3  # of the noise's power: float32 leaves it four digits
ROUNDINGS = (0, 1, -1, 2, -2, 3, -3, 4, -4)  # in the last place, likely ones first


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


def plan_euler(o: Options) -> Plan:
    return _in_ratios(o, lambda grid: (euler,))


def plan_ancestral(o: Options) -> Plan:
    return _in_ratios(
        o, lambda grid: _drawing(1.0, grid, 1 / np.asarray(grid.ends.alpha))
    )


def plan_heun(o: Options) -> Plan:
    plan = _in_ratios(o, lambda grid: (edm,))
    assert plan.sigmas is not None, "every plan in ratios has some"
    # both calls of a step, where the last has one
    return dataclasses.replace(plan, sigmas=np.repeat(plan.sigmas, 2)[1:-1])


def _in_ratios(o: Options, samplers: Callable[[Grid], tuple[Sampler, ...]]) -> Plan:
    ours = tables.above_zero(o, powers_of(o))
    power = tables.as_recorded(o, "alphas_cumprod", ours)
    times, sigmas = _ratios_called(o, tables.ratios(power))
    # one that is spaced in logarithms has a ratio more than it walks to
    walked = sigmas[: len(times) + 1]
    grid = Grid.along(preserving(np.append(times, 0.0), walked))
    largest = sigmas.max()
    starts_there = o["timestep_spacing"] in ("linspace", "trailing")
    return Plan(
        grid,
        samplers(grid),
        prediction_of(o),
        bound_of(o),
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
        tables.linspace(float(np.log(table[-1])), float(np.log(table[0])), count + 1)
    ),
}

ENDS: dict[str, Callable[[Row], float]] = {
    "zero": lambda rising: 0.0,
    "sigma_min": lambda rising: float(rising[0]),
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
            times = tables.spaced(o, spacing_of(o))
        times, count = np.asarray(times, np.float32), o["num_steps"]
        sigmas = chosen(o, "interpolation_type", INTERPOLATIONS)(times, table, count)
        lawful = tables.between(o, sigmas, count)
        if lawful is not None:
            sigmas, times = lawful, tables.times_of(lawful, table)
        end = chosen(o, "final_sigmas_type", ENDS)(table)
        sigmas = np.append(sigmas, end).astype(np.float32)
    hears_logs = chosen(o, "timestep_type", HEARS_LOGS)
    if hears_logs and o["prediction_type"] == "v_prediction":
        times = 0.25 * np.log(sigmas[:-1])
    return times.astype(np.float32), sigmas


def preserving(t: Row, ratio: Row) -> Points:
    """alpha^2 + sigma^2 = 1."""
    ratio = ratio.astype(np.float64)
    alpha = 1 / np.sqrt(1 + ratio**2)
    return of_scales(t, alpha, ratio * alpha)
