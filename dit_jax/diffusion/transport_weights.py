"""SiT's weights of a squared error in eps, from a process at one time.

Ma et al. 2024, arXiv:2401.08740, section 2 and its code; notation: `processes`.
"""

from collections.abc import Callable

from jaxtyping import Array

from dit_jax.diffusion.predictions import Coefficients


def none(c: Coefficients) -> Array | float:
    """The error in eps itself."""
    return 1.0


def velocity(c: Coefficients) -> Array | float:
    """The error that eps makes in the velocity: (dvelocity / deps)^2 at a given xt.

    The same as `denoising_loss` with loss_in velocity.
    """
    return (half_power(c) / c.sigma) ** 2


def likelihood(c: Coefficients) -> Array | float:
    """Of the score, times the forward SDE's power: bounds the likelihood.

    Song et al. 2021, arXiv:2101.09258, theorem 1, where it is summed over elements.
    """
    return half_power(c) / c.sigma**2


def half_power(c: Coefficients) -> Array:
    """g^2 / 2 of the forward SDE whose laws are the process's: sigma sigma' - sigma^2
    alpha' / alpha. Infinite where alpha is 0."""
    return c.sigma * c.wronskian / c.alpha


WEIGHTS: dict[str, Callable[[Coefficients], Array | float]] = {
    "none": none,
    "velocity": velocity,
    "likelihood": likelihood,
}
