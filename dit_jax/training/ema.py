"""The exponential moving average of the parameters."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


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
