"""How much squared errors of each time count.

A row of `WEIGHTS` is `(space, coefficients) -> weight`: what the squared error of a
prediction of the kind `space`, any of `PREDICTIONS`, is multiplied by. Papers define a
weight in one space. At a given xt an error in x0 is one in any other prediction, larger
by a known ratio, so that the weight of one space gives those of all: whichever space
the error is taken in, the weighted loss is the same. Only "none" weighs 1 everywhere,
and so is another loss in every space.

Notation: `dit_jax.diffusion.processes`; snr is alpha^2 / sigma^2. Weights multiply the
mean over times as they are drawn. float32, for t inside (0, 1).
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array

from dit_jax.diffusion.predictions import PREDICTIONS, Coefficients
from dit_jax.errors import UserError, choose

Weight = Callable[[str, Coefficients], Array]


def squared_ratio(space: str, c: Coefficients) -> Array:
    """Of an error in `space` to the error in x0 that it comes from, squared."""
    row = choose(PREDICTIONS, space, "the space of the loss")
    one = jnp.ones_like(c.alpha)
    # xt is given, so that x0 + 1 is eps - alpha / sigma
    return jnp.square(row.target(one, -c.alpha / c.sigma, c))


def none(space: str, c: Coefficients) -> Array:
    """1 in the space that the error is taken in, whichever it is."""
    choose(PREDICTIONS, space, "the space of the loss")
    return jnp.ones_like(c.alpha)


def min_snr(space: str, c: Coefficients, gamma: float = 5.0) -> Array:
    """min(snr, gamma) in x0, which is min(1, gamma / snr) in eps.

    Hang et al. 2023, arXiv:2303.09556, section 3.4.
    """
    if gamma <= 0:
        raise UserError(f"gamma of the weight min_snr is {gamma}; choose above 0")
    of_eps = jnp.minimum(1, gamma * jnp.square(c.sigma / c.alpha))
    return _moved("eps", space, of_eps, c)


def truncated_snr(space: str, c: Coefficients) -> Array:
    """max(snr, 1) in x0. Salimans and Ho 2022, arXiv:2202.00512, section 4."""
    return _moved("x0", space, jnp.maximum(jnp.square(c.alpha / c.sigma), 1), c)


def p2(space: str, c: Coefficients, k: float = 1.0, gamma: float = 1.0) -> Array:
    """1 / (k + snr)^gamma in eps. Choi et al. 2022, arXiv:2204.00227, eq. 8."""
    if k < 0 or gamma < 0:
        raise UserError(f"k and gamma of p2 are {k} and {gamma}; choose 0 or more")
    snr = jnp.square(c.alpha / c.sigma)
    return _moved("eps", space, (k + snr) ** -gamma, c)


def sigmoid(space: str, c: Coefficients, bias: float = 0.0) -> Array:
    """-dlogsnr/dt sigmoid(bias - logsnr) in eps, for t drawn uniformly.

    Kingma and Gao 2023, arXiv:2303.00848, section 4; in x0 the rate times e^bias
    sigmoid(logsnr - bias), Hoogeboom et al. 2024, arXiv:2410.19324, eq. 4. The rate
    makes it the same law on every process.
    """
    faded = c.sigma**2 + jnp.exp(-bias) * c.alpha**2
    # alpha^2 / faded times the rate, 2 wronskian / (alpha sigma)
    of_x0 = 2 * c.wronskian * c.alpha / (c.sigma * faded)
    return _moved("x0", space, of_x0, c)


def velocity(space: str, c: Coefficients) -> Array:
    """1 in velocity. SiT's weight of other predictions, arXiv:2401.08740 (code)."""
    return _moved("velocity", space, jnp.ones_like(c.alpha), c)


def likelihood(space: str, c: Coefficients) -> Array:
    """g^2 / 2 in the score, of the forward SDE whose laws are the process's: bounds the
    likelihood, summed over elements. Song et al. 2021, arXiv:2101.09258, theorem 1.
    """
    # g^2 / 2 is sigma wronskian / alpha, and the score -eps / sigma
    return _moved("eps", space, c.wronskian / (c.alpha * c.sigma), c)


def _moved(own: str, space: str, weight: Array, c: Coefficients) -> Array:
    """The weight in `space` that is `weight` in the space `own`."""
    if own == space:
        return weight
    return weight * squared_ratio(own, c) / squared_ratio(space, c)


WEIGHTS: dict[str, Callable[..., Array]] = {
    "none": none,
    "min_snr": min_snr,
    "truncated_snr": truncated_snr,
    "p2": p2,
    "sigmoid": sigmoid,
    "velocity": velocity,
    "likelihood": likelihood,
}
