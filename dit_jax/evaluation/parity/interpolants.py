"""What SiT's options mean in ours: paths, margins, and stand-ins for networks.

SiT's time runs from noise, 0, to data, 1: ours is 1 less it, its velocity and rates are
ours with the other sign, its x0 is our eps and its x1 our x0. Times here are SiT's
unless said otherwise. Ma et al. 2024, arXiv:2401.08740; willisma/SiT.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dit_jax.diffusion.points import Grid, Points, of_process
from dit_jax.diffusion.processes import (
    Process,
    RectifiedFlow,
    Trigonometric,
    VariancePreserving,
)
from dit_jax.diffusion.samplers.sampling import sample
from dit_jax.diffusion.samplers.steps import Noise, Way
from dit_jax.diffusion.streams import align
from dit_jax.evaluation.parity.golden import (
    ADAPTIVE,
    Case,
    Uncovered,
)
from dit_jax.types import Conditioning

PATHS: dict[str, Process] = {
    "Linear": RectifiedFlow(),
    "GVP": Trigonometric(),
    "VP": VariancePreserving(0.1, 20.0),
}

NEAREST = 1e-12
"""The least of our times on VP, whose sigma rises infinitely fast at 0 itself."""

HALF_ULP = 2.0**-24
"""The error of a float32 below 1, such as the 1 - alpha^2 of which SiT takes VP's
sigma; ours keeps all its digits."""


@dataclasses.dataclass(frozen=True)
class StandIn:
    """The formula that a case has for a network, `(x, t) -> output`.

    sign: of what it puts out, against ours.
    """

    prediction: str
    output: Callable[[Array, Array], Array]
    sign: float = 1.0

    def __call__(self, x: Array, t: Array, told: Conditioning) -> Array:
        """As a denoiser of ours; t is our time."""
        del told
        return self.sign * self.output(x, align(1 - t, x))


STAND_INS: dict[str, StandIn] = {
    "velocity": StandIn(
        "velocity", lambda x, t: jnp.tanh(0.7 * x) * (1 - 0.5 * t) - 0.3 * x, sign=-1.0
    ),
    "score": StandIn("score", lambda x, t: -x + 0.2 * t * jnp.tanh(x)),
    "noise": StandIn("eps", lambda x, t: x - 0.2 * t * jnp.tanh(x)),
}


@dataclasses.dataclass(frozen=True)
class Transport:
    """A path and what a network predicts on it, with the reference's margins.

    train_eps, sample_eps: how far times keep from the ends where something is infinite.
    """

    path: str
    prediction: str
    train_eps: float | None
    sample_eps: float | None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "Transport":
        """The reference's defaults: a missing train_eps replaces both margins, and
        where nothing is infinite none is kept."""
        path, prediction = options["path"], options["prediction"]
        one_of(PATHS, "path", path)
        one_of(STAND_INS, "prediction", prediction)
        train, kept = options["train_eps"], options["sample_eps"]
        if path != "VP" and prediction == "velocity":
            train, kept = 0.0, 0.0
        elif train is None:
            train, kept = 1e-5 if path == "VP" else 1e-3, 1e-3
        return cls(path, prediction, train, kept)

    @property
    def process(self) -> Process:
        return PATHS[self.path]

    @property
    def stand_in(self) -> StandIn:
        return STAND_INS[self.prediction]

    def interval(
        self, eps: float | None, *, form: str | None = None, last: float = 0.0
    ) -> tuple[float, float]:
        """The first and the last time.

        form: of an SDE's diffusion, None for an ODE and for training; last: the size of
        an SDE's last step.
        """
        is_sde = form is not None
        at_noise: float | None = 0.0
        at_data = last if is_sde and last else eps
        if self.path != "VP":
            if self.prediction != "velocity" or form == "SBDM":
                at_noise = eps
            elif not is_sde:
                at_data = 0.0
        if at_noise is None or at_data is None:
            raise Uncovered(
                f"sample_eps is None and train_eps {self.train_eps}; the reference has "
                "no default for the one where it is told the other"
            )
        return at_noise, 1 - at_data

    def points(self, times: Float[np.ndarray, " S"]) -> Points:
        least = NEAREST if self.path == "VP" else 0.0
        return of_process(self.process, np.maximum(1 - times, least))

    def rounded(self, times: Float[np.ndarray, " S"]) -> Points:
        """The same of times, and VP's sigma and its rate, as float32 may have them."""
        points = self.points(times.astype(np.float32).astype(np.float64))
        if self.path != "VP":
            return points
        sigma = np.sqrt(points.sigma**2 + HALF_ULP)
        rate = points.sigma_rate * points.sigma / sigma
        return points._replace(sigma=sigma, sigma_rate=rate)

    def sampled(
        self,
        case: Case,
        sampler: Callable[[Grid], Way],
        times: Float[np.ndarray, " S"],
        noise: Noise | None,
    ) -> tuple[np.ndarray, dict[str, float]]:
        """All states of a sampler from z along the times; and, unless it chooses its
        own steps, how far float32 moves them."""

        def run(points: Points) -> Array:
            return sample(
                self.stand_in,
                sampler,
                Grid.along(points),
                jnp.asarray(case.inputs["z"], float),
                prediction=self.stand_in.prediction,
                conditioning=Conditioning(),
                noise=noise,
                keep=True,
            )

        states = np.asarray(run(self.points(times)))
        if case.config.get("method") in ADAPTIVE:
            return states, {}
        with jax.enable_x64(True):
            off = np.abs(states - np.asarray(run(self.rounded(times))))
        return states, {"samples": float(off.max())}


def one_of(table: Mapping[Any, Any], option: str, value: Any) -> Any:
    """`table[value]`, or Uncovered, which names the option."""
    known = [key for key in table if key == value and type(key) is type(value)]
    if not known:
        names = ", ".join(map(repr, table))
        raise Uncovered(f"{option} is {value!r}; covered are {names}")
    return table[known[0]]


def read(case: Case, **defaults: Any) -> dict[str, Any]:
    """The options of a case, the reference's defaults where it has none.

    Uncovered for an option without a default here, or a value of another type.
    """
    for option, value in case.config.items():
        if option not in defaults:
            raise Uncovered(
                f"option {option} = {value!r}; covered are {', '.join(defaults)}"
            )
        if type(value) not in _kinds(option, defaults[option]):
            raise Uncovered(
                f"{option} is {value!r}; covered are values of another type"
            )
    return defaults | case.config


def _kinds(option: str, default: Any) -> tuple[type, ...]:
    """The types that a value of this option may have."""
    if option.endswith("_eps"):
        return (int, float, type(None))
    if isinstance(default, float):
        return (int, float)
    if isinstance(default, str) or default is None:
        return (str, type(None))
    return (type(default),)
