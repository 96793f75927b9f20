"""The training losses. Training and validation call the same functions."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dit_jax.diffusion.posteriors import VARIANCES
from dit_jax.diffusion.predictions import Coefficients, convert_at, target_at
from dit_jax.diffusion.processes import Discrete, Process
from dit_jax.diffusion.streams import (
    Streams,
    Times,
    example_mean,
    over_streams,
    split_variance,
)
from dit_jax.diffusion.variational import Chain, bound_terms
from dit_jax.diffusion.weightings import WEIGHTS, Weight, none
from dit_jax.errors import NoAnswer, UserError, choose
from dit_jax.types import Conditioning, DenoiseFn

__all__ = [
    "BOUNDS",
    "WEIGHTS",
    "Terms",
    "denoising_loss",
    "example_mean",
    "squared_errors",
    "variational_loss",
]


def denoising_loss(
    denoise_fn: DenoiseFn,
    process: Process,
    prediction: str,
    *,
    loss_in: str,
    weight: Weight = none,
    x0: Streams,
    eps: Streams,
    t: Times,
    conditioning: Conditioning,
) -> Float[Array, " B"]:
    """Mean squared error of each example, in the space `loss_in`, float32.

    The network puts out `prediction`; where `loss_in` differs, its output is converted
    first, so both names are any of `PREDICTIONS` and their weights differ by what
    `Coefficients` says (x0 -> eps: alpha^2 / sigma^2). weight: of `WEIGHTS`, times the
    squared errors. With `conditioning.mask` the mean runs over the example's generated
    positions alone, so that the scale does not depend on the mask and the mean over
    microbatches is the mean over the batch.
    eps: Ho et al. 2020, arXiv:2006.11239, eq. 14. x0, v: Salimans and Ho 2022,
    arXiv:2202.00512, section 4. velocity: Lipman et al. 2022, arXiv:2210.02747, eq. 14.
    """
    xt = process.add_noise(x0, eps, t)
    out, _ = split_variance(denoise_fn(xt, t, conditioning), xt)
    errors = over_streams(
        lambda t, *arrays: squared_errors(
            prediction, loss_in, weight, Coefficients.at(process, t), *arrays
        ),
        t,
        x0,
        eps,
        xt,
        out,
    )
    return _generated_mean(errors, conditioning)


def squared_errors(
    prediction: str,
    loss_in: str,
    weight: Weight,
    c: Coefficients,
    x0: Array,
    eps: Array,
    xt: Array,
    out: Array,
) -> Array:
    """Weighted squared errors of one array, where the process is at `c`."""
    found = convert_at(prediction, loss_in, out, xt, c)
    wanted = target_at(loss_in, x0, eps, c)
    return weight(loss_in, c) * jnp.square(found - wanted)


class Bound(NamedTuple):
    """What the variational bound is to a loss.

    scale: what its terms are multiplied by, of T. is_all: whether it is the whole loss
    and moves the mean too; else it comes beside squared errors and moves the variance.
    """

    scale: Callable[[int], float]
    is_all: bool = False


BOUNDS: dict[str, Bound] = {
    "mse": Bound(lambda num_steps: 1.0),
    # 1 / 1000 of the whole bound. Nichol and Dhariwal 2021, arXiv:2102.09672, eq. 16
    "rescaled_mse": Bound(lambda num_steps: num_steps / 1000),
    "kl": Bound(lambda num_steps: 1.0, is_all=True),
    # an estimate of the whole bound, from one of its terms
    "rescaled_kl": Bound(lambda num_steps: float(num_steps), is_all=True),
}
"""The kinds of loss of the reference's `LossType`."""


class Terms(NamedTuple):
    """A loss of each example and what it is the sum of; None is no part of it."""

    loss: Float[Array, " B"]
    mse: Float[Array, " B"] | None
    vb: Float[Array, " B"] | None


def variational_loss(
    denoise_fn: DenoiseFn,
    process: Discrete,
    prediction: str,
    *,
    loss_in: str,
    variance: str = "learned_range",
    bound: str = "mse",
    vb_weight: float = 1.0,
    weight: Weight = none,
    x0: Streams,
    eps: Streams,
    t: Times,
    conditioning: Conditioning,
) -> Terms:
    """Squared errors in the space `loss_in` and, for the variance, the variational
    bound in bits per dimension; float32. `loss_in` is the prediction's space in DiT.

    bound: of `BOUNDS`. Beside squared errors the bound sees the prediction without its
    gradient; a fixed variance then has nothing to learn and no bound is added.
    vb_weight: times the bound. t: moved to the nearest step. Means run over generated
    positions alone, those of the bound too; weights are those of `denoising_loss`.
    Nichol and Dhariwal 2021, arXiv:2102.09672, section 3.1.
    """
    kind = choose(BOUNDS, bound, "the bound")
    require_weighable(bound, weight)
    chain = Chain(process)
    nearest = chain.steps_at(t)
    step = jax.tree.broadcast(nearest, x0)
    xt = jax.tree.map(chain.add_noise, x0, eps, step)
    out, said = split_variance(
        denoise_fn(xt, chain.times_of(nearest), conditioning), xt
    )

    def mean_bound(out: Streams) -> Float[Array, " B"]:
        terms = bound_terms(
            chain, prediction, variance, out=out, said=said, x0=x0, xt=xt, step=step
        )
        return kind.scale(process.num_steps) * _generated_mean(terms, conditioning)

    if kind.is_all:
        vb = mean_bound(out)
        return Terms(vb_weight * vb, None, vb)
    errors = jax.tree.map(
        lambda step, *arrays: squared_errors(
            prediction, loss_in, weight, chain.coefficients(step, arrays[0]), *arrays
        ),
        step,
        x0,
        eps,
        xt,
        out,
    )
    mse = _generated_mean(errors, conditioning)
    if choose(VARIANCES, variance, "the variance")(chain.grid).fixed is not None:
        return Terms(mse, mse, None)
    vb = mean_bound(jax.lax.stop_gradient(out))
    return Terms(mse + vb_weight * vb, mse, vb)


def require_finite(
    process: Process,
    prediction: str,
    loss_in: str,
    weight: Weight,
    ends: tuple[float, float],
) -> None:
    """UserError if the loss is not finite at an end of the times that are drawn."""
    x0, eps, out = (jnp.float32(value) for value in (0.5, -0.3, 0.2))
    for t in ends:
        c = Coefficients.at(process, jnp.float32(t))
        xt = c.alpha * x0 + c.sigma * eps
        try:
            errors = squared_errors(prediction, loss_in, weight, c, x0, eps, xt, out)
            is_finite = bool(jnp.isfinite(errors))
        except NoAnswer:
            is_finite = False
        if not is_finite:
            raise UserError(
                f"the error in {loss_in} of a prediction of {prediction}, so weighed, "
                f"is not finite at t = {t:g}, which is trained on; set diffusion.loss "
                "to the prediction, diffusion.weight to none, or choose another process"
            )


def require_weighable(bound: str, weight: Weight) -> None:
    """UserError where a weight would be of nothing."""
    if BOUNDS[bound].is_all and weight is not none:
        raise UserError(
            f"the bound {bound} is all of the loss and has no squared errors to weigh; "
            "choose the weight none, or the bound mse"
        )


def _generated_mean(values: Streams, conditioning: Conditioning) -> Float[Array, " B"]:
    assert not isinstance(conditioning.mask, jax.ShapeDtypeStruct)
    return example_mean(values, conditioning.mask)
