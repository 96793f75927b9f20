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

FIRST_TRAINED, LAST_TRAINED = 1e-3, 1 - 1e-3

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


@dataclasses.dataclass(frozen=True)
class Mode(Distribution):
    """t = 1 - u - scale (cos^2(pi u / 2) - 1 + u): a positive scale favours the middle,
    a negative one the ends. Esser et al. 2024, arXiv:2403.03206, eq. 20.
    """

    scale: float = 1.29

    def __post_init__(self) -> None:
        low, high = -1.0, 2 / (math.pi - 2)
        if not low <= self.scale <= high:
            raise UserError(
                f"the mode's scale is {self.scale}, where times would run back; choose "
                f"{low} to {high:.3f}"
            )

    def inverse_cdf(self, u: Float[Array, "*dims"]) -> Float[Array, "*dims"]:
        u = 1 - u  # the paper's falls
        return 1 - u - self.scale * (jnp.square(jnp.cos(jnp.pi / 2 * u)) - 1 + u)


DISTRIBUTIONS: dict[str, Callable[[float, float, float], Distribution]] = {
    "uniform": lambda mean, std, scale: Uniform(),
    "logit_normal": lambda mean, std, scale: LogitNormal(mean, std),
    "mode": lambda mean, std, scale: Mode(scale),
}
"""name -> maker `(mean and std of logit(t), the mode's scale) -> Distribution`."""


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
    num_steps: of a discrete process, whose steps alone are drawn, all of them; None for
      a continuous one.
    """

    distribution: Distribution = Uniform()
    shift: float = 1.0
    stratified: bool = True
    t_min: float = FIRST_TRAINED
    t_max: float = LAST_TRAINED
    num_steps: int | None = None

    def __post_init__(self) -> None:
        require_shift(self.shift)
        if not 0 < self.t_min < self.t_max < 1:
            raise UserError(
                f"training times run from {self.t_min} to {self.t_max}; choose "
                "0 < t_min < t_max < 1"
            )

    @property
    def ends(self) -> tuple[float, float]:
        """The first and the last time that may be drawn."""
        return (self.t_min, self.t_max) if self.num_steps is None else (0.0, 1.0)

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
        if self.num_steps is None:
            return jnp.clip(t, self.t_min, self.t_max)
        # each of num_steps equal parts of [0, 1) is a step
        number = jnp.minimum(jnp.floor(t * self.num_steps), self.num_steps - 1)
        return number / (self.num_steps - 1)
