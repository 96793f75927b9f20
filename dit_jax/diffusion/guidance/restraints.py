"""What keeps a guided output from growing: `(guided, conditional) -> guided`.

They look at sizes and so, unlike guidance itself, act differently on different
predictions. They are for outputs of the data's size: x0, v and velocity, not eps. Each
example and each stream is restrained by itself.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from dit_jax.errors import UserError, choose

Guided = Float[Array, "B ..."]
Restraint = Callable[[Guided, Guided], Guided]


def unrestrained() -> Restraint:
    """What is guided, as it is."""
    return lambda guided, conditional: guided


def rescaled(phi: float = 0.7) -> Restraint:
    """The standard deviation moved by a share phi to that of the conditional output.

    Lin et al. 2023, arXiv:2305.08891, section 3.4, there for v.
    """
    if not 0 <= phi <= 1:
        raise UserError(f"the rescaling's phi is {phi}; choose 0 (off) to 1")

    def restrain(guided: Guided, conditional: Guided) -> Guided:
        axes = tuple(range(1, guided.ndim))
        wanted, found = (
            jnp.std(x, axis=axes, keepdims=True) for x in (conditional, guided)
        )
        ratio = jnp.where(found > 0, wanted / jnp.where(found > 0, found, 1), 1)
        return guided * (1 + phi * (ratio - 1))

    return restrain


def renormed(over: str = "global", least: float = 0.0) -> Restraint:
    """The norm brought down to that of the conditional output where it is above.

    over: of an example ("global") or of the channels of a position ("channel"). least:
    what the factor may not fall below, 1 is off. BAGEL, arXiv:2505.14683 (its code's
    cfg_renorm_type and cfg_renorm_min), there for velocity.
    """
    if not 0 <= least <= 1:
        raise UserError(f"the least factor of a norm is {least}; choose 0 to 1 (off)")
    axes_of = choose(NORMS, over, "the norm of guidance")

    def restrain(guided: Guided, conditional: Guided) -> Guided:
        wanted, found = (
            jnp.sqrt(jnp.sum(x**2, axis=axes_of(x.ndim), keepdims=True))
            for x in (conditional, guided)
        )
        ratio = wanted / jnp.where(found > 0, found, 1)
        return guided * jnp.clip(ratio, least, 1.0)

    return restrain


NORMS: dict[str, Callable[[int], tuple[int, ...]]] = {
    "global": lambda ndim: tuple(range(1, ndim)),
    "channel": lambda ndim: (-1,),
}
"""The axes of an array that a norm runs over."""

RESTRAINTS: dict[str, Callable[..., Restraint]] = {
    "none": unrestrained,
    "rescaled": rescaled,
    "renormed": renormed,
}
