"""The variational view of a discrete process: a chain of Gaussian steps, and its bound.

    q(x_t | x_0)          the forward process, t + 1 steps of noise at step t
    q(x_t-1 | x_t, x_0)   its posterior
    p(x_t-1 | x_t)        the model's step: the posterior's mean at the x0 it believes,
                          and a variance of `posteriors.VARIANCES`

    -log p(x_0) <= KL(q(x_T | x_0) || N(0, 1)) + sum over t of the terms
    term of t > 0         KL(q(x_t-1 | x_t, x_0) || p(x_t-1 | x_t))
    term of t = 0         -log p(x_0 | x_1), of x_0 in 256 levels from -1 to 1

Ho et al. 2020, arXiv:2006.11239, eq. 5; Nichol and Dhariwal 2021, arXiv:2102.09672,
eq. 4 to 7. Steps are integers, 0 to T - 1; tables are float64 and looked up in float32.
Terms are in bits an element, so that their mean is bits per dimension.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from dit_jax.diffusion import posteriors
from dit_jax.diffusion.points import Grid, of_process
from dit_jax.diffusion.predictions import PREDICTIONS, Coefficients
from dit_jax.diffusion.processes import Discrete
from dit_jax.diffusion.streams import Streams, Times, align, example_mean
from dit_jax.errors import UserError, choose

Data = Float[Array, "B ..."]
Step = Int[Array, "B ..."]
"""Aligned with the data from the left, as times are."""

Table = Float[np.ndarray, " T"]
LOG_LEAST = math.log(1e-12)  # of a level's probability, as the reference


class Normal(NamedTuple):
    """Independent Gaussians. Where the variance is 0 its log is of the next step's."""

    mean: Data
    variance: Data
    log_variance: Data


class Reverse(NamedTuple):
    """A model's step, and the x0 that its mean comes from."""

    normal: Normal
    x0: Data


@dataclasses.dataclass(frozen=True, eq=False)
class Chain:
    """A discrete process as the chain of its steps; arrays in, one array each."""

    process: Discrete

    @functools.cached_property
    def grid(self) -> Grid:
        """Down all steps and to clean data: row i belongs to step T - 1 - i."""
        times = np.linspace(1, 0, self.process.num_steps)
        return Grid.to_data(of_process(self.process, times))

    def steps_at(self, t: Times) -> PyTree[Step]:
        """The steps nearest to times."""
        last = self.process.num_steps - 1
        return jax.tree.map(lambda t: jnp.round(t * last).astype(jnp.int32), t)

    def times_of(self, step: PyTree[Step]) -> Times:
        """The times of steps."""
        last = self.process.num_steps - 1
        return jax.tree.map(lambda step: step / last, step)

    def coefficients(self, step: Step, like: Data) -> Coefficients:
        """The process at steps, in shapes that multiply data."""
        return Coefficients(*(self._at(c, step, like) for c in self.grid.calls[1:]))

    def add_noise(self, x0: Data, eps: Data, step: Step) -> Data:
        """A draw of q(x_t | x_0), by unit noise."""
        c = self.coefficients(step, x0)
        return c.alpha * x0 + c.sigma * eps

    def forward(self, x0: Data, step: Step) -> Normal:
        """q(x_t | x_0)."""
        alpha, power = self.grid.calls.alpha, self.grid.calls.sigma**2
        mean = self._at(alpha, step, x0) * x0
        return Normal(mean, *(self._at(c, step, x0) for c in (power, np.log(power))))

    def posterior(self, x0: Data, xt: Data, step: Step) -> Normal:
        """q(x_t-1 | x_t, x_0)."""
        of_x, of_x0 = posteriors.posterior_mean(self.grid)
        mean = self._at(of_x0, step, xt) * x0 + self._at(of_x, step, xt) * xt
        power = posteriors.posterior_variance(self.grid)
        log_power = np.log(posteriors.clipped_posterior_variance(self.grid))
        return Normal(mean, *(self._at(c, step, xt) for c in (power, log_power)))

    def reverse(
        self,
        prediction: str,
        variance: str,
        out: Data,
        said: Data | None,
        xt: Data,
        step: Step,
        bound: Callable[[Array], Array] | None = None,
    ) -> Reverse:
        """p(x_t-1 | x_t) of what a network puts out.

        said: its further channels, for learned variances. bound: what is done to the
        x0 it believes, such as clipping.
        """
        row = choose(PREDICTIONS, prediction, "diffusion.prediction")
        x0 = row.to_x0(out.astype(jnp.float32), xt, self.coefficients(step, xt))
        if bound is not None:
            x0 = bound(x0)
        mean = self.posterior(x0, xt, step).mean
        kind = choose(posteriors.VARIANCES, variance, "the variance")(self.grid)
        low, high = (self._at(c, step, xt) for c in kind.log_bounds.T)
        if kind.fixed is not None:
            power = self._at(kind.fixed, step, xt)
            return Reverse(Normal(mean, power, low), x0)
        if said is None:
            raise UserError(
                f"the variance is {variance} and the network says none; choose a fixed "
                "variance or a model with learn_sigma"
            )
        log_power = posteriors.log_variance(said.astype(jnp.float32), low, high)
        return Reverse(Normal(mean, jnp.exp(log_power), log_power), x0)

    def _at(self, column: Table, step: Step, like: Data) -> Float[Array, "..."]:
        rising = jnp.asarray(column[::-1], jnp.float32)
        return align(rising[step], like)


def bound_terms(
    chain: Chain,
    prediction: str,
    variance: str,
    *,
    out: Streams,
    said: Streams | None,
    x0: Streams,
    xt: Streams,
    step: PyTree[Step],
    bound: Callable[[Array], Array] | None = None,
) -> Streams:
    """The bound's terms of these steps, bits, element by element."""

    def leaf(step: Step, x0: Data, xt: Data, out: Data, *said: Data) -> Data:
        true = chain.posterior(x0, xt, step)
        model = chain.reverse(
            prediction, variance, out, said[0] if said else None, xt, step, bound
        ).normal
        kl = normal_kl(true.mean, true.log_variance, model.mean, model.log_variance)
        decoded = log_likelihood(x0, model.mean, 0.5 * model.log_variance)
        is_first = align(step.astype(jnp.float32), x0) == 0
        return jnp.where(is_first, -decoded, kl) / math.log(2)

    rest = () if said is None else (said,)
    return jax.tree.map(leaf, jax.tree.broadcast(step, x0), x0, xt, out, *rest)


def prior_bpd(chain: Chain, x0: Streams) -> Float[Array, " B"]:
    """KL(q(x_T | x_0) || N(0, 1)), which no model can lower; bits per dimension."""
    last = chain.process.num_steps - 1

    def leaf(x0: Data) -> Data:
        end = chain.forward(x0, jnp.full(x0.shape[:1], last))
        return normal_kl(end.mean, end.log_variance, 0.0, 0.0) / math.log(2)

    return example_mean(jax.tree.map(leaf, x0), None)


def normal_kl(
    mean1: Array,
    log_variance1: Array,
    mean2: Array | float,
    log_variance2: Array | float,
) -> Array:
    """KL(first || second) of Gaussians, nats, element by element."""
    difference = log_variance1 - log_variance2
    # expm1: the two nearly cancel where the variances are nearly equal
    spread = jnp.expm1(difference) - difference
    return 0.5 * (spread + jnp.square(mean1 - mean2) * jnp.exp(-log_variance2))


def log_likelihood(x: Data, mean: Data, log_std: Array) -> Data:
    """Log of the probability that a Gaussian gives to the level of x, nats.

    The levels are 255ths of [-1, 1]; the first and the last reach to infinity. Not
    below log 1e-12. Ho et al. 2020, arXiv:2006.11239, eq. 13, with the reference's
    approximate distribution function, 0.5 (1 + tanh(u(z))), which is sigmoid(2 u(z)).
    """
    per_std = jnp.exp(-log_std)
    middle, half = (x - mean) * per_std, per_std / 255
    upper, lower = middle + half, middle - half
    scale = 2 * math.sqrt(2 / math.pi)
    above, below = (scale * (z + 0.044715 * z**3) for z in (upper, lower))
    # above - below, not from the two: in the tails nothing would be left of it
    cubes = upper**2 + upper * lower + lower**2
    width = scale * 2 * half * (1 + 0.044715 * cubes)
    inside = (
        jax.nn.log_sigmoid(above)
        + jax.nn.log_sigmoid(-below)
        + jnp.log(-jnp.expm1(-width))
    )
    outside = jnp.where(x < 0, jax.nn.log_sigmoid(above), jax.nn.log_sigmoid(-below))
    return jnp.maximum(jnp.where(jnp.abs(x) > 0.999, outside, inside), LOG_LEAST)
