"""Numbers that schedulers of diffusers make before the first call.

Each is rounded to float32 where theirs is: alpha^2 near 1 has few digits left, and a
time that is truncated to a whole number turns on the last of them. Nothing here is a
method; how a step is made of these numbers is `dit_jax.diffusion.samplers`.

    power   alpha^2 of a training step, "alphas_cumprod"
    ratio   sigma / alpha, what they call sigma; of flows it is sigma itself
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Num

from dit_jax.diffusion import betas, grids
from dit_jax.evaluation.parity.scheduler_options import Options

Row = Num[np.ndarray, " _"]
Schedule = Callable[[int, float, float], Row]
"""`(T, first, last) -> betas`"""
Spacing = Callable[..., Row]
"""`(steps in use, steps, N, more, offset) -> N falling steps` of N + more."""

LEAST_POWER = 2**-24  # in place of 0, where a ratio must be finite
DIGITS = 1e-6  # of a power
TIE = 5e-4  # of a time that may fall on either side of a whole number


def linspace(first: float, last: float, count: int) -> Row:
    """Evenly spaced float32 as PyTorch makes them: from both ends to the middle, a
    product and a sum rounded once."""
    start, end = np.float32(first), np.float32(last)
    step = np.float64((end - start) / np.float32(max(count - 1, 1)))
    i = np.arange(count)
    upwards, downwards = start + step * i, end - step * (count - 1 - i)
    return np.where(i < max(count // 2, 1), upwards, downwards).astype(np.float32)


def _of_curve(power: Callable[[Row], Row]) -> Schedule:
    """Betas under which alpha^2 falls like `power`; their ends are not asked for."""

    def make(count: int, first: float, last: float) -> Row:
        ends = power(np.linspace(0, 1, count + 1))
        return np.minimum(1 - ends[1:] / ends[:-1], 0.999)

    return make


def _laplace(t: Row) -> Row:
    """A root of Hang et al. 2024, arXiv:2407.03297, table 1, with mu 0 and b 0.5."""
    logsnr = np.where(t > 0.5, 0.5, -0.5) * np.log(1 - 2 * np.abs(0.5 - t) + 1e-6)
    return np.sqrt(1 / (1 + np.exp(-logsnr)))


def _sigmoid(count: int, first: float, last: float) -> Row:
    """Xu et al. 2022, arXiv:2203.02923 (their code)."""
    return first + (last - first) / (1 + np.exp(-linspace(-6.0, 6.0, count)))


BETAS: dict[str, Schedule] = {
    "linear": lambda count, first, last: linspace(first, last, count),
    "scaled_linear": lambda count, first, last: (
        linspace(first**0.5, last**0.5, count) ** 2
    ),
    "squaredcos_cap_v2": lambda count, first, last: betas.cosine(count),
    "sigmoid": _sigmoid,
    "laplace": _of_curve(_laplace),
    "exp": _of_curve(lambda t: np.exp(-12 * t)),
}


def powers(o: Options, beta_schedule: Schedule) -> Row:
    """alpha^2 of the training steps, float32 [T]."""
    schedule = o["trained_betas"]
    if schedule is None:
        schedule = beta_schedule(
            o["num_train_timesteps"], o["beta_start"], o["beta_end"]
        )
    found = _product(np.asarray(schedule, np.float32))
    return _product(_without_end(found)) if o["rescale_betas_zero_snr"] else found


def _product(schedule: Row) -> Row:
    kept = 1 - schedule
    return np.cumprod(kept, dtype=np.float64).astype(np.float32)


def _without_end(power: Row) -> Row:
    """Betas of `betas.zero_terminal_snr`, all float32."""
    alpha = np.sqrt(power)
    first, last = alpha[0], alpha[-1]
    power = np.square((alpha - last) * (first / (first - last)))
    return 1 - np.append(power[:1], power[1:] / power[:-1])


def ratios(power: Row) -> Row:
    """sigma / alpha of the training steps, rising."""
    return np.sqrt((1 - power) / power)


def above_zero(o: Options, power: Row) -> Row:
    """The powers of schedulers that put a little in place of no signal."""
    if not o["rescale_betas_zero_snr"]:
        return power
    return np.append(power[:-1], np.float32(LEAST_POWER))


SPACINGS: dict[str, Spacing] = {
    "linspace": lambda last, total, count, more, offset: np.linspace(
        0, last - 1, count + more
    )[::-1][:count],
    "leading": lambda last, total, count, more, offset: (
        (np.arange(count + more) * (last // (count + more)))[::-1][:count] + offset
    ),
    # arange and not linspace: its last digits decide where .5 is rounded to
    "trailing": lambda last, total, count, more, offset: (
        np.arange(last, 0, -total / count).round() - 1
    ),
}


def spaced(o: Options, spacing: Spacing, *, last: int = 0, more: int = 0) -> Row:
    """The steps that are called, before any rounding."""
    total = o["num_train_timesteps"]
    return spacing(last or total, total, o["num_steps"], more, o["steps_offset"])


def in_use(o: Options, power: Row) -> int:
    """How many steps have a half logsnr of `lambda_min_clipped` or more."""
    half_logsnr = np.log(np.sqrt(power)) - np.log(np.sqrt(1 - power))
    return int(np.sum(half_logsnr >= o["lambda_min_clipped"]))


def times_of(wanted: Row, table: Row) -> Row:
    """Where ratios stand among those of the training steps, by their logarithms."""
    logs = np.log(table)
    wanted = np.log(np.maximum(wanted, 1e-10))
    is_passed = wanted[:, None] >= logs
    low = np.where(is_passed.any(1), len(logs) - 1 - is_passed[:, ::-1].argmax(1), 0)
    low = np.minimum(low, len(logs) - 2)
    share = np.clip((logs[low] - wanted) / (logs[low] - logs[low + 1]), 0, 1)
    return (1 - share) * low + share * (low + 1)


def as_recorded(o: Options, name: str, ours: Row) -> Row:
    """What a case recorded, if that is ours but for the last digits: the reference's
    square root is the machine's and not always the nearest number."""
    recorded = o["recorded"].get(name, ours)
    if recorded.shape != ours.shape or np.any(np.abs(recorded - ours) > DIGITS):
        return ours
    return recorded


def truncated(o: Options, times: Row) -> Row:
    """Whole times. The last digit of a logarithm, which is the machine's, may put a
    time just below a whole number or above: at such a tie it is as it was recorded."""
    recorded, nearest = o["recorded"].get("timesteps", times), times.round()
    if recorded.shape != times.shape:
        return np.trunc(times)
    is_tie = np.abs(times - nearest) < TIE
    is_below = np.trunc(recorded) == nearest - 1
    return np.where(is_tie, nearest - is_below, np.trunc(times))


def _lu(largest: float, smallest: float, count: int) -> Row:
    """`grids.exponential` of logarithms that are float32."""
    first, last = np.log(np.array([largest, smallest], np.float32))
    return np.exp(np.linspace(first, last, count, dtype=np.float64))


RATIOS: dict[str, grids.Ratios] = {
    "use_karras_sigmas": grids.karras,
    "use_lu_lambdas": _lu,
    "use_exponential_sigmas": grids.exponential,
    "use_beta_sigmas": grids.beta,
}
"""The first that is set spaces the ratios."""


def between(o: Options, among: Row, count: int) -> Row | None:
    """Ratios by the law that the options name, mostly from the first of `among` to the
    last; None where they name none."""
    law = next((law for name, law in RATIOS.items() if o[name]), None)
    if law is None:
        return None
    largest = among[0] if o["sigma_max"] is None else o["sigma_max"]
    smallest = among[-1] if o["sigma_min"] is None else o["sigma_min"]
    return law(float(largest), float(smallest), count)


def stretched(flow: Row, terminal: float | None) -> Row:
    """Flow times of which the last is where it should be."""
    if not terminal:
        return flow
    return 1 - (1 - flow) * ((1 - terminal) / (1 - flow[-1]))


DYNAMIC_SHIFTS: dict[str, Callable[[float], float]] = {
    "exponential": lambda mu: float(np.exp(mu)),
    "linear": lambda mu: mu,
}
"""What mu says the shift of flow times is."""
