"""The ways from data to noise.

Notation, used in all of `dit_jax.diffusion` (`'` is d/dt):

    t         time in [0, 1]: 0 is data, 1 is noise
    xt        alpha x0 + sigma eps, with x0 the clean latent and eps unit noise
    logsnr    2 log(alpha / sigma), falls from data to noise
    v         alpha eps - sigma x0
    velocity  dxt/dt = alpha' x0 + sigma' eps

Any two of (xt, x0, eps, v, velocity) at one t give the others, because

    x0  = (alpha xt - sigma v) / (alpha^2 + sigma^2)
        = (sigma' xt - sigma velocity) / (alpha sigma' - sigma alpha')
    eps = (sigma xt + alpha v) / (alpha^2 + sigma^2)
        = (alpha velocity - alpha' xt) / (alpha sigma' - sigma alpha')

The samples of a process follow the probability-flow ODE, dx = E[x0|x] dalpha +
E[eps|x] dsigma (Song et al. 2021, arXiv:2011.13456, eq. 13, in these letters).
"""

import abc
import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dit_jax.diffusion.streams import Streams, Times, over_streams
from dit_jax.errors import UserError


class Process(abc.ABC):
    """A process is its `alpha` and `sigma`; the rest follows. All float32."""

    @abc.abstractmethod
    def alpha(self, t: Float[Array, "*dims"]) -> Float[Array, "*dims"]:
        """Scale of the data, 1 at t = 0 and falling."""

    @abc.abstractmethod
    def sigma(self, t: Float[Array, "*dims"]) -> Float[Array, "*dims"]:
        """Scale of the noise, 0 at t = 0 and rising."""

    def alpha_rate(self, t: Float[Array, "*dims"]) -> Float[Array, "*dims"]:
        """dalpha/dt."""
        return jax.jvp(self.alpha, (t,), (jnp.ones_like(t),))[1]

    def sigma_rate(self, t: Float[Array, "*dims"]) -> Float[Array, "*dims"]:
        """dsigma/dt; infinite at t = 0 where sigma grows like a root."""
        return jax.jvp(self.sigma, (t,), (jnp.ones_like(t),))[1]

    def logsnr(self, t: Float[Array, "*dims"]) -> Float[Array, "*dims"]:
        """2 log(alpha / sigma); its limits, +-inf, where sigma or alpha is 0."""
        return 2 * (jnp.log(self.alpha(t)) - jnp.log(self.sigma(t)))

    def add_noise(self, x0: Streams, eps: Streams, t: Times) -> Streams:
        """xt in float32; exactly `x0` at t = 0."""
        return over_streams(
            lambda t, x0, eps: self.alpha(t) * x0 + self.sigma(t) * eps, t, x0, eps
        )


@dataclasses.dataclass(frozen=True)
class RectifiedFlow(Process):
    """Straight lines, velocity = eps - x0. Liu et al. 2022, arXiv:2209.03003, eq. 1."""

    def alpha(self, t: Float[Array, "*dims"]) -> Float[Array, "*dims"]:
        return 1 - t

    def sigma(self, t: Float[Array, "*dims"]) -> Float[Array, "*dims"]:
        return t


@dataclasses.dataclass(frozen=True)
class VariancePreserving(Process):
    """alpha^2 + sigma^2 = 1, beta linear in t. VP-SDE, arXiv:2011.13456, eq. 33.

    At t = 1 a little data is left: alpha is 0.0066 with the default betas.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        if not 0 < self.beta_min <= self.beta_max:
            raise UserError(
                f"betas run from {self.beta_min} to {self.beta_max}, which is not a "
                "rising range above 0; choose 0 < beta_min <= beta_max"
            )

    def alpha(self, t: Float[Array, "*dims"]) -> Float[Array, "*dims"]:
        return jnp.exp(-0.5 * self._beta_integral(t))

    def sigma(self, t: Float[Array, "*dims"]) -> Float[Array, "*dims"]:
        # expm1: 1 - alpha^2 has no correct digit left near t = 0.
        return jnp.sqrt(-jnp.expm1(-self._beta_integral(t)))

    def _beta_integral(self, t: Float[Array, "*dims"]) -> Float[Array, "*dims"]:
        return self.beta_min * t + 0.5 * (self.beta_max - self.beta_min) * t**2


PROCESSES: dict[str, type[Process]] = {
    "rectified_flow": RectifiedFlow,
    "variance_preserving": VariancePreserving,
}
