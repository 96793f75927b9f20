"""AdamW with warm-up and cosine decay, clipped by the global norm, and the EMA."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from dit_jax.errors import UserError


def learning_rate(
    *, peak: float, warmup_steps: int, num_steps: int, final_share: float
) -> optax.Schedule:
    """Linear from 0 over `warmup_steps`, then a cosine to `final_share * peak`."""
    if not 0 <= warmup_steps < num_steps:
        raise UserError(
            f"optimizer.warmup_steps is {warmup_steps} but train.num_steps is "
            f"{num_steps}; warm up for fewer steps than the run has"
        )
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0 if warmup_steps else peak,
        peak_value=peak,
        warmup_steps=warmup_steps,
        decay_steps=num_steps,
        end_value=final_share * peak,
    )


def adamw(
    schedule: optax.Schedule,
    *,
    b1: float,
    b2: float,
    eps: float,
    weight_decay: float,
    clip_norm: float,
    clip_from: int,
) -> optax.GradientTransformation:
    """Decoupled weight decay (Loshchilov & Hutter 2019) on kernels only.

    clip_norm, clip_from: see `clipping`.
    """

    def kernels(params: Any) -> Any:
        def is_kernel(path, _) -> bool:
            return path[-1].key == "kernel"

        return jax.tree_util.tree_map_with_path(is_kernel, params)

    return optax.chain(
        clipping(clip_norm, clip_from),
        optax.adamw(
            schedule, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay, mask=kernels
        ),
    )


def clipping(clip_norm: float, clip_from: int) -> optax.GradientTransformation:
    """Scales the gradient to a global norm of at most `clip_norm`; 0.0 does nothing.

    clip_from: completed steps before which it does nothing either.
    """
    for key, value in {"clip_norm": clip_norm, "clip_from": clip_from}.items():
        if not value >= 0:
            raise UserError(f"optimizer.{key} is {value}; give at least 0")
    if clip_norm == 0.0:
        return optax.identity()
    clip = optax.clip_by_global_norm(clip_norm)
    if clip_from == 0:
        return clip
    return optax.conditionally_transform(clip, lambda step: step >= clip_from)


def ema_update(ema: Any, params: Any, decay: float, step: Int[Array, ""]) -> Any:
    """The debiased exponential average after `step` >= 1 updates, float32.

    Kept debiased at all times: average += (1 - decay) / (1 - decay^step) * (params -
    average), which equals sum_i decay^(step-i) params_i divided by its weights. After
    the first update it is the parameters themselves.
    """
    weight = (1 - decay) / (1 - jnp.power(jnp.float32(decay), step))

    def mix(average: Float[Array, "..."], new: Float[Array, "..."]):
        return average + weight * (new - average)

    return jax.tree.map(mix, ema, params)
