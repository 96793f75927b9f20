"""One optimizer step: keys -> loss -> gradient -> update -> EMA -> metrics."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from dit_jax.training.ema import ema_update
from dit_jax.training.objective import Draws, Objective
from dit_jax.training.state import TrainState
from dit_jax.types import Batch, DenoiseFn

Metrics = dict[str, Array]
TrainStep = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


def make_train_step(
    denoiser: Callable[[Any], DenoiseFn],
    objective: Objective,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    *,
    seed: int,
    microbatches: int,
    ema_decay: float,
    time_buckets: int,
    place_microbatches: Callable[[Any], Any],
) -> TrainStep:
    """The pure step function, to be jitted with the state donated.

    denoiser: parameters -> denoise_fn. Draws are made for the whole batch before it is
    cut into microbatches, so that k of them give the gradient of one.
    """

    def mean_loss(params: Any, draws: Draws) -> tuple[Array, Array]:
        losses = objective.losses(denoiser(params), draws)
        return losses.mean(), losses

    gradient = jax.grad(mean_loss, has_aux=True)

    def accumulate(params: Any, draws: Draws) -> tuple[Any, Float[Array, " B"]]:
        if microbatches == 1:
            return gradient(params, draws)

        def add(total: Any, part: Draws) -> tuple[Any, Array]:
            grads, losses = gradient(params, part)
            return jax.tree.map(jnp.add, total, grads), losses

        parts = place_microbatches(_split(draws, microbatches))
        zeros = jax.tree.map(jnp.zeros_like, params)
        total, losses = jax.lax.scan(add, zeros, parts)
        grads = jax.tree.map(lambda g: g / microbatches, total)
        return grads, losses.swapaxes(0, 1).reshape(-1)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        draws = objective.train_draws(batch, seed, state.step)
        grads, losses = accumulate(state.params, draws)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        step = state.step + 1
        ema = ema_update(state.ema, params, ema_decay, step)
        metrics = {
            "loss": losses.mean(),
            "grad_norm": optax.tree.norm(grads),
            "learning_rate": schedule(state.step),
            "bucket": bucket_sums(losses, draws.t, time_buckets),
        }
        return TrainState(step, params, opt_state, ema), metrics

    return train_step


def _split(tree: Any, parts: int) -> Any:
    """Leaves [B, ...] -> [parts, B / parts, ...], row r in part r % parts.

    Neighbouring rows go to different parts, so that every device keeps its own rows.
    """

    def cut(leaf: Array) -> Array:
        rows = leaf.reshape(leaf.shape[0] // parts, parts, *leaf.shape[1:])
        return rows.swapaxes(0, 1)

    return jax.tree.map(cut, tree)


def bucket_sums(
    losses: Float[Array, " B"], t: Float[Array, " B"], buckets: int
) -> Float[Array, "buckets 2"]:
    """Sum of losses and number of examples with t in each of equal parts of [0, 1]."""
    index = jnp.clip((t * buckets).astype(jnp.int32), 0, buckets - 1)
    member = jax.nn.one_hot(index, buckets, dtype=jnp.float32)
    return jnp.stack([losses @ member, member.sum(0)], axis=1)
