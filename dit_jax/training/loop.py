"""The training loop. All the maths is in step.py; each hook knows its own period."""

from collections.abc import Callable, Iterator, Sequence

from dit_jax.errors import Preempted
from dit_jax.training.hooks import Hook
from dit_jax.training.state import TrainState
from dit_jax.training.step import Metrics, TrainStep
from dit_jax.types import Batch


def train(
    state: TrainState,
    data: Iterator[Batch],
    train_step: TrainStep,
    *,
    first_step: int,
    num_steps: int,
    hooks: Sequence[Hook],
    save: Hook,
    stop_requested: Callable[[int], bool],
) -> TrainState:
    """From `first_step` completed steps to `num_steps`.

    Hooks run in their order after each step, with the number of completed steps. A stop
    is answered between steps: the state is saved, then Preempted is raised.
    """
    metrics: Metrics = {}
    for step in range(first_step + 1, num_steps + 1):
        if stop_requested(step - 1):
            save(step - 1, state, metrics)
            raise Preempted(
                f"stopped at step {step - 1} of {num_steps}, saved; the same command "
                "continues"
            )
        batch = next(data)
        state, metrics = train_step(state, batch)
        for hook in hooks:
            hook(step, state, metrics)
    return state
