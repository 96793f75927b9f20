"""Learning rates by completed steps: a linear warm-up from 0, then one of three shapes.

A line of SCHEDULES makes what comes after the warm-up, by the steps since.
"""

import dataclasses
from collections.abc import Callable

import optax

from dit_jax.errors import UserError, choose


@dataclasses.dataclass(frozen=True)
class Descent:
    """What a shape is made from: the steps it has and how the last of them fall.

    final_share: of the peak, where it ends; decay_steps: of wsd, the last of `steps`.
    """

    peak: float
    steps: int
    final_share: float
    decay_steps: int


def constant(descent: Descent) -> optax.Schedule:
    return optax.constant_schedule(descent.peak)


def cosine(descent: Descent) -> optax.Schedule:
    """Half a cosine to the final share. Loshchilov & Hutter 2017, arXiv:1608.03983."""
    return optax.cosine_decay_schedule(
        descent.peak, descent.steps, alpha=descent.final_share
    )


def wsd(descent: Descent) -> optax.Schedule:
    """Stable at the peak, then linear to the final share; MiniCPM, arXiv:2404.06395.

    Only the decay depends on the number of steps: a run whose `train.num_steps` is
    raised before the decay began goes on as if it had always been that long.
    """
    stable = descent.steps - descent.decay_steps
    if stable < 0:
        raise UserError(
            f"optimizer.decay_share gives {descent.decay_steps} steps of decay, but "
            f"only {descent.steps} come after the warm-up; lower it or "
            "optimizer.warmup_steps"
        )
    end = descent.final_share * descent.peak
    fall = optax.linear_schedule(descent.peak, end, descent.decay_steps)
    return optax.join_schedules([optax.constant_schedule(descent.peak), fall], [stable])


SCHEDULES: dict[str, Callable[[Descent], optax.Schedule]] = {
    "constant": constant,
    "cosine": cosine,
    "wsd": wsd,
}


def learning_rate(
    name: str,
    *,
    peak: float,
    num_steps: int,
    warmup_steps: int,
    final_share: float,
    decay_share: float,
) -> optax.Schedule:
    """The rate of the step that follows `n` completed ones, for n in [0, num_steps).

    decay_share: of `num_steps`, how many steps wsd decays over.
    """
    shape = choose(SCHEDULES, name, "optimizer.schedule")
    if not 0 <= warmup_steps < num_steps:
        raise UserError(
            f"optimizer.warmup_steps is {warmup_steps} but train.num_steps is "
            f"{num_steps}; warm up for fewer steps than the run has"
        )
    if not 0 < decay_share <= 1:
        raise UserError(
            f"optimizer.decay_share is {decay_share}; give a share of the steps in "
            "(0, 1]"
        )
    if not 0 <= final_share <= 1:
        raise UserError(
            f"optimizer.final_share is {final_share}; give a share of the peak in "
            "[0, 1]"
        )
    decay_steps = max(1, round(decay_share * num_steps))
    rest = shape(Descent(peak, num_steps - warmup_steps, final_share, decay_steps))
    warmup = optax.linear_schedule(0.0, peak, warmup_steps)
    return optax.join_schedules([warmup, rest], [warmup_steps])
