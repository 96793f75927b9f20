"""The ways from data to noise.

Notation, used in all of `dit_jax.diffusion` (`'` is d/dt):

    t         time in [0, 1]: 0 is data, 1 is noise
    xt        alpha x0 + sigma eps, with x0 the clean latent and eps unit noise
    logsnr    2 log(alpha / sigma), falls from data to noise
    v         alpha eps - sigma x0
    velocity  dxt/dt = alpha' x0 + sigma' eps
    score     d log p(xt | x0) / dxt = -eps / sigma

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
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dit_jax.diffusion import betas, options
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


@dataclasses.dataclass(frozen=True)
class Trigonometric(Process):
    """alpha and sigma are a cosine and a sine: SiT's GVP, arXiv:2401.08740, table 1."""

    def alpha(self, t: Float[Array, "*dims"]) -> Float[Array, "*dims"]:
        return jnp.sin(0.5 * jnp.pi * (1 - t))  # exactly 0 at t = 1

    def sigma(self, t: Float[Array, "*dims"]) -> Float[Array, "*dims"]:
        return jnp.sin(0.5 * jnp.pi * t)


@dataclasses.dataclass(frozen=True, eq=False)
class Discrete(Process):
    """T steps, alpha_i^2 = `powers[i]` and alpha^2 + sigma^2 = 1; step i is at
    t = i / (T - 1). Ho et al. 2020, arXiv:2006.11239, eq. 4.

    Between two steps the angle atan2(sigma, alpha) is linear in t, so that rates exist.
    At t = 0 there is the noise of the first step. powers: float64 [T], falling.
    """

    powers: np.ndarray

    def __post_init__(self) -> None:
        steps = np.diff(self.powers)
        if len(self.powers) < 2 or not (
            np.all(steps < 0) and self.powers[0] < 1 and self.powers[-1] >= 0
        ):
            raise UserError(
                "alpha^2 of the steps must fall, from below 1 to 0 or above; found "
                f"{len(self.powers)} steps from {self.powers[0]:.4g} to "
                f"{self.powers[-1]:.4g}"
            )

    @classmethod
    def of_betas(cls, schedule: betas.Betas) -> "Discrete":
        return cls(np.cumprod(1 - schedule))

    @property
    def num_steps(self) -> int:
        return len(self.powers)

    def alpha(self, t: Float[Array, "*dims"]) -> Float[Array, "*dims"]:
        # not the cosine of sigma's angle: its last digits are lost where alpha is small
        return jnp.sin(self._between(np.arctan2(*self._roots[::-1]), t))

    def sigma(self, t: Float[Array, "*dims"]) -> Float[Array, "*dims"]:
        return jnp.sin(self._between(np.arctan2(*self._roots), t))

    @property
    def _roots(self) -> tuple[np.ndarray, np.ndarray]:
        """sigma and alpha of the steps."""
        return np.sqrt(1 - self.powers), np.sqrt(self.powers)

    def _between(
        self, angles: np.ndarray, t: Float[Array, "*dims"]
    ) -> Float[Array, "*dims"]:
        step = t * (self.num_steps - 1)
        low = jnp.clip(jnp.floor(step), 0, self.num_steps - 2).astype(jnp.int32)
        table = jnp.asarray(angles, t.dtype)
        return table[low] + (step - low) * (table[low + 1] - table[low])


def ddpm(
    schedule: Callable[..., betas.Betas], num_steps: int, *ends: float
) -> Discrete:
    """Of betas that are spread over `num_steps` steps, from the first to the last."""
    if num_steps < 2:
        raise UserError(f"a ddpm process has {num_steps} steps; give it 2 or more")
    if not all(0 < end < 1 for end in ends):
        raise UserError(
            f"betas run from {ends[0]} to {ends[1]}; choose above 0, below 1"
        )
    return Discrete.of_betas(schedule(num_steps, *ends))


PROCESSES: dict[str, Callable[..., Process]] = {
    "rectified_flow": RectifiedFlow,
    "variance_preserving": VariancePreserving,
    "trigonometric": Trigonometric,
    "ddpm_linear": lambda num_steps=1000, first=1e-4, last=0.02: ddpm(
        betas.linear, num_steps, first, last
    ),
    "ddpm_scaled_linear": lambda num_steps=1000, first=0.00085, last=0.012: ddpm(
        betas.scaled_linear, num_steps, first, last
    ),
    "ddpm_cosine": lambda num_steps=1000: ddpm(betas.cosine, num_steps),
}


def build(
    name: str, *, zero_terminal_snr: bool = False, snr_shift: float = 1.0
) -> Process:
    """A process of the table, its steps changed where it has some.

    zero_terminal_snr, snr_shift: see `betas`; the shift comes first, as in CogVideoX.
    """
    process = options.read(PROCESSES, name, "diffusion.process")()
    if not zero_terminal_snr and snr_shift == 1.0:
        return process
    if not isinstance(process, Discrete):
        raise UserError(
            f"diffusion.process is {name}, which has no steps whose signal-to-noise "
            "ratio could be changed; set zero_terminal_snr to False and snr_shift to "
            "1.0, or choose a ddpm process"
        )
    powers = betas.shifted_snr(process.powers, snr_shift)
    return Discrete(betas.zero_terminal_snr(powers) if zero_terminal_snr else powers)
