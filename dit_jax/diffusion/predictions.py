"""What a network may predict, and the way from one prediction to another.

Notation and identities: `dit_jax.diffusion.processes`. Everything is computed in
float32. Where a conversion divides by 0 (eps from x0 at t = 0, x0 from eps where alpha
is 0, velocity where sigma grows infinitely fast) no answer exists: concrete times raise
NoAnswer, and traced times give inf or nan, so keep them inside (0, 1).
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dit_jax.diffusion.processes import Process
from dit_jax.diffusion.streams import Streams, Times, over_streams
from dit_jax.errors import NoAnswer, choose


class Coefficients(NamedTuple):
    """A process at one time, in shapes that multiply the data."""

    alpha: Array
    sigma: Array
    alpha_rate: Array
    sigma_rate: Array

    @classmethod
    def at(cls, process: Process, t: Float[Array, "..."]) -> "Coefficients":
        return cls(
            process.alpha(t),
            process.sigma(t),
            process.alpha_rate(t),
            process.sigma_rate(t),
        )

    @property
    def power(self) -> Array:
        return self.alpha**2 + self.sigma**2

    @property
    def wronskian(self) -> Array:
        """alpha sigma' - sigma alpha', positive where logsnr falls."""
        return self.alpha * self.sigma_rate - self.sigma * self.alpha_rate


@dataclasses.dataclass(frozen=True)
class Prediction:
    """One thing to predict: how to read it, and how to make its target."""

    to_x0: Callable[[Array, Array, Coefficients], Array]
    """(out, xt, coefficients) -> x0"""

    to_eps: Callable[[Array, Array, Coefficients], Array]
    """(out, xt, coefficients) -> eps"""

    target: Callable[[Array, Array, Coefficients], Array]
    """(x0, eps, coefficients) -> what a perfect network puts out"""


def _divisor(value: Array, name: str) -> Array:
    """`value`, or NoAnswer if it is known now to be 0 or infinite somewhere."""
    if _is_concrete(value) and np.any(np.asarray(value) == 0):
        raise NoAnswer(
            f"{name} is 0 at an end of the process, where this conversion is not "
            "defined; keep t (t_min, t_max) inside (0, 1) or choose another prediction"
        )
    return _finite(value, name)


def _finite(value: Array, name: str) -> Array:
    """`value`, or NoAnswer if it is known now to be infinite somewhere."""
    if _is_concrete(value) and not np.all(np.isfinite(value)):
        raise NoAnswer(
            f"{name} is infinite at an end of the process, where velocity is not "
            "defined; keep t (t_min, t_max) inside (0, 1) or choose another prediction"
        )
    return value


def _is_concrete(value: Array) -> bool:
    return not isinstance(value, jax.core.Tracer) and value.is_fully_addressable


PREDICTIONS: dict[str, Prediction] = {
    "x0": Prediction(
        to_x0=lambda out, xt, c: out,
        to_eps=lambda out, xt, c: (xt - c.alpha * out) / _divisor(c.sigma, "sigma"),
        target=lambda x0, eps, c: x0,
    ),
    "eps": Prediction(
        to_x0=lambda out, xt, c: (xt - c.sigma * out) / _divisor(c.alpha, "alpha"),
        to_eps=lambda out, xt, c: out,
        target=lambda x0, eps, c: eps,
    ),
    "v": Prediction(
        to_x0=lambda out, xt, c: (c.alpha * xt - c.sigma * out) / c.power,
        to_eps=lambda out, xt, c: (c.sigma * xt + c.alpha * out) / c.power,
        target=lambda x0, eps, c: c.alpha * eps - c.sigma * x0,
    ),
    "score": Prediction(
        to_x0=lambda out, xt, c: (xt + c.sigma**2 * out) / _divisor(c.alpha, "alpha"),
        to_eps=lambda out, xt, c: -c.sigma * out,
        target=lambda x0, eps, c: -eps / _divisor(c.sigma, "sigma"),
    ),
    "velocity": Prediction(
        to_x0=lambda out, xt, c: (
            (c.sigma_rate * xt - c.sigma * out)
            / _divisor(c.wronskian, "the rate of logsnr")
        ),
        to_eps=lambda out, xt, c: (
            (c.alpha * out - c.alpha_rate * xt)
            / _divisor(c.wronskian, "the rate of logsnr")
        ),
        target=lambda x0, eps, c: (
            c.alpha_rate * x0 + _finite(c.sigma_rate, "dsigma/dt") * eps
        ),
    ),
}


def target(
    prediction: str, process: Process, x0: Streams, eps: Streams, t: Times
) -> Streams:
    """What a perfect network of this prediction puts out."""
    return over_streams(
        lambda t, x0, eps: target_at(prediction, x0, eps, Coefficients.at(process, t)),
        t,
        x0,
        eps,
    )


def convert(
    have: str, want: str, process: Process, out: Streams, xt: Streams, t: Times
) -> Streams:
    """The prediction `out` of kind `have`, made at (`xt`, `t`), as the kind `want`.

    `convert(kind, kind, ...)` is `out` itself, in float32.
    """
    if have == want:
        choose(PREDICTIONS, have, "diffusion.prediction")
        return jax.tree.map(_float32, out)
    return over_streams(
        lambda t, out, xt: convert_at(have, want, out, xt, Coefficients.at(process, t)),
        t,
        out,
        xt,
    )


def convert_at(have: str, want: str, out: Array, xt: Array, c: Coefficients) -> Array:
    """`convert` of one array, where the process is at `c`."""
    old = choose(PREDICTIONS, have, "diffusion.prediction")
    new = choose(PREDICTIONS, want, "diffusion.prediction")
    out, xt = _float32(out), _float32(xt)
    if have == want:
        return out
    return new.target(old.to_x0(out, xt, c), old.to_eps(out, xt, c), c)


def target_at(prediction: str, x0: Array, eps: Array, c: Coefficients) -> Array:
    """`target` of one array, where the process is at `c`."""
    row = choose(PREDICTIONS, prediction, "diffusion.prediction")
    return row.target(_float32(x0), _float32(eps), c)


def _float32(x: Array) -> Array:
    return x.astype(jnp.float32)
