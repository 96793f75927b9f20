"""What happens around the steps: validation, checkpoints. Logging is in metrics.py."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from dit_jax.checkpoints import Checkpoints
from dit_jax.errors import UserError
from dit_jax.training import state as state_lib
from dit_jax.training.objective import Objective
from dit_jax.training.state import TrainState
from dit_jax.training.step import Metrics
from dit_jax.types import Batch, DenoiseFn

WeightedBatch = tuple[Batch, Float[Array, " B"], Int[Array, " B"]]
"""(batch, weights, rows): weight 0 for padding, row i is validation example i."""

Hook = Callable[[int, TrainState, Metrics], None]
Report = Callable[[int, dict[str, float]], None]


class Save:
    """A checkpoint of everything, every `every_steps` and at the last step."""

    def __init__(
        self,
        checkpoints: Checkpoints,
        *,
        every_steps: int,
        num_steps: int,
    ):
        self.checkpoints = checkpoints
        self.every_steps = every_steps
        self.num_steps = num_steps
        self.saved = checkpoints.latest()

    def __call__(self, step: int, state: TrainState, metrics: Metrics) -> None:
        if step % self.every_steps == 0 or step == self.num_steps:
            self.now(step, state, metrics)

    def now(self, step: int, state: TrainState, metrics: Metrics) -> None:
        """Starts an async save, unless this step is there or its loss is not finite."""
        if self.saved == step:
            return
        if "loss" in metrics:
            require_finite(step, float(metrics["loss"]))
        state_lib.save(self.checkpoints, state, step)
        self.saved = step


def require_finite(step: int, loss: float) -> None:
    """Stops a run whose weights are lost, before they replace good checkpoints."""
    if not math.isfinite(loss):
        raise UserError(
            f"the loss is {loss} at step {step}, and nothing was saved since it broke; "
            "start a new --workdir with train.init_from=THIS_RUN and a lower "
            "optimizer.learning_rate, or look at the data"
        )


class Validate:
    """The validation loss of the EMA weights, on fixed examples, noise and times."""

    def __init__(
        self,
        denoiser: Callable[[Any], DenoiseFn],
        objective: Objective,
        batches: Iterable[WeightedBatch],
        *,
        num_examples: int,
        seed: int,
        every_steps: int,
        num_steps: int,
        report: Report,
    ):
        self.batches = list(batches)
        self.num_examples = num_examples
        self.every_steps = every_steps
        self.num_steps = num_steps
        self.report = report

        def weighted_sum(ema: Any, batch: Batch, weights: Array, rows: Array) -> Array:
            draws = objective.fixed_draws(batch, seed, rows, num_examples)
            return objective.losses(denoiser(ema), draws) @ weights

        self.weighted_sum = jax.jit(weighted_sum)

    def __call__(self, step: int, state: TrainState, metrics: Metrics) -> None:
        if self.batches and (step % self.every_steps == 0 or step == self.num_steps):
            self.report(step, {"validation_loss": self.loss(state.ema)})

    def loss(self, ema: Any) -> float:
        """Mean over the validation examples; padding has weight 0."""
        sums = [self.weighted_sum(ema, *batch) for batch in self.batches]
        return float(np.sum(np.asarray(sums, np.float64)) / self.num_examples)
