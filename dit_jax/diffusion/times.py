"""The diffusion times of a training batch. t in (0, 1): 0 is data, 1 is noise."""

import abc
import dataclasses
import math
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from dit_jax import rng
from dit_jax.errors import UserError

Time = TypeVar("Time", Array, np.ndarray)

SHARED_ROW = 2**32 - 1
"""The row whose number all rows share; no batch is that long."""


class Distribution(abc.ABC):
    """A law of t, by its inverse distribution function."""

    @abc.abstractmethod
    def inverse_cdf(self, u: Float[Array, "*dims"]) -> Float[Array, "*dims"]:
        """The t below which a share `u` in [0, 1) of the draws falls."""


@dataclasses.dataclass(frozen=True)
class Uniform(Distribution):
    """Every t alike."""

    def inverse_cdf(self, u: Float[Array, "*dims"]) -> Float[Array, "*dims"]:
        return u


@dataclasses.dataclass(frozen=True)
class LogitNormal(Distribution):
    """t = sigmoid(mean + std z), z normal; a positive mean leans towards noise.

    Esser et al. 2024, arXiv:2403.03206, section 3.1.
    """

    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        if not (0 < self.std < math.inf and math.isfinite(self.mean)):
            raise UserError(
                f"logit-normal times have mean {self.mean} and std {self.std}; choose "
                "finite numbers and a std above 0"
            )

    def inverse_cdf(self, u: Float[Array, "*dims"]) -> Float[Array, "*dims"]:
        return jax.nn.sigmoid(self.mean + self.std * jax.scipy.special.ndtri(u))


DISTRIBUTIONS: dict[str, Callable[[float, float], Distribution]] = {
    "uniform": lambda mean, std: Uniform(),
    "logit_normal": LogitNormal,
}
"""name -> maker `(mean, std of logit(t)) -> Distribution`."""


def shift_time(t: Time, shift: float) -> Time:
    """s t / (1 + (s - 1) t): s > 1 moves times towards noise, 1 changes nothing.

    0 and 1 stay where they are. Esser et al. 2024, arXiv:2403.03206, eq. 23.
    """
    return shift * t / (1 + (shift - 1) * t)


def require_shift(shift: float) -> None:
    """ValueError unless the shift keeps the order of times."""
    if not 0 < shift < math.inf:
        raise UserError(f"the time shift is {shift}; it must be above 0, and 1 is off")


@dataclasses.dataclass(frozen=True)
class TrainingTimes:
    """How the times of a batch are drawn.

    stratified: rows share the unit interval evenly, which lowers the variance of the
      batch's loss; each row alone still follows the distribution.
    t_min, t_max: draws beyond them are moved to them; strictly inside (0, 1), since
      several losses are infinite at the ends.
    """

    distribution: Distribution = Uniform()
    shift: float = 1.0
    stratified: bool = True
    t_min: float = 1e-3
    t_max: float = 1 - 1e-3

    def __post_init__(self) -> None:
        require_shift(self.shift)
        if not 0 < self.t_min < self.t_max < 1:
            raise UserError(
                f"training times run from {self.t_min} to {self.t_max}; choose "
                "0 < t_min < t_max < 1"
            )

    def draw(
        self, key: Key[Array, ""], rows: Int[Array, " B"], batch_size: int
    ) -> Float[Array, " B"]:
        """Times of some rows of a global batch, float32.

        key: the stream of this step (`rng.stream`). rows: positions in the global
        batch of `batch_size` rows; a row's time does not depend on the other rows.
        """
        u = rng.uniform_rows(key, rows)
        if self.stratified:
            shared = jax.random.uniform(jax.random.fold_in(key, SHARED_ROW))
            u = jnp.mod((rows + u) / batch_size + shared, 1.0)
        t = shift_time(self.distribution.inverse_cdf(u), self.shift)
        return jnp.clip(t, self.t_min, self.t_max)
