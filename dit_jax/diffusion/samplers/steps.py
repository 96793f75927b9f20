"""A sampler is a table: one row of numbers a model call.

Every explicit method of the field is linear in the state, in what the denoiser believed
at the last calls, and in fresh noise z. With the newest estimates first, a row does

    x <- x + before z
    x0, eps <- the denoiser at (x, t)
    x <- of_x x + sum_j of_x0[j] x0[j] + sum_j of_eps[j] eps[j] + of_noise z

so one scan runs them all, and a method is the few lines of numpy that fill its table
from a grid, in float64.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dit_jax.diffusion.points import Points
from dit_jax.diffusion.posteriors import log_variance
from dit_jax.diffusion.streams import States, Streams
from dit_jax.errors import NoAnswer, UserError, choose


class Belief(NamedTuple):
    """What a denoiser says at one call; `variance` of the noise to add, in [-1, 1]
    between the bounds of the row, or None."""

    x0: Streams
    eps: Streams
    variance: Streams | None = None


Estimate = Callable[[Streams, Points], Belief]
"""`(xt, point) -> belief`, one model call; the point's numbers are scalars."""


class Recollection(NamedTuple):
    """An estimate that hands something on from call to call, at first `start`."""

    estimate: Callable[[Streams, Points, Any], tuple[Belief, Any]]
    start: Any


Noise = Callable[[Array], Streams]
"""`number of the row -> unit normal noise`, like what is sampled, row by row."""

Column = Float[np.ndarray, " _"]


@runtime_checkable
class Way(Protocol):
    """What a sampler makes of a grid: `Steps`, or what else runs as they do."""

    @property
    def calls(self) -> Points:
        """Where the denoiser is asked, at least."""

    @property
    def draws(self) -> bool:
        """Whether it takes fresh noise."""

    @property
    def asks_x0(self) -> bool:
        """Whether it looks at x0."""

    @property
    def asks_eps(self) -> bool:
        """Whether it looks at eps."""

    def run(
        self, estimate: Estimate, x: Streams, noise: Noise | None, *, keep: bool = False
    ) -> States:
        """From `x` at the first call to the end of the grid; see `Steps.run`."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Steps:
    """The table of a method on a grid of S calls; see `make`.

    draws: whether any row takes fresh noise. A table may be traced: one program then
    runs every method that looks back as far and has as many calls.
    """

    calls: Points
    of_x: Column | Array
    of_x0: Float[np.ndarray, "S J"] | Array
    of_eps: Float[np.ndarray, "S K"] | Array
    of_noise: Column | Array
    before: Column | Array
    variances: Float[np.ndarray, "S 2"] | Array | None
    draws: bool = dataclasses.field(metadata={"static": True})

    def __len__(self) -> int:
        return len(self.of_x)

    @property
    def asks_x0(self) -> bool:
        """Whether any row looks at x0."""
        return bool(self.of_x0.size)

    @property
    def asks_eps(self) -> bool:
        """Whether any row looks at eps."""
        return bool(self.of_eps.size)

    def run(
        self, estimate: Estimate, x: Streams, noise: Noise | None, *, keep: bool = False
    ) -> States:
        """From `x` at the first call to the end of the grid, in float32 at least.

        keep: the states after every row, stacked, and not the last alone.
        """
        alone = Recollection(lambda x, point, _: (estimate(x, point), None), None)
        states, _ = self.recollect(alone, x, noise, keep=keep)
        return states

    def recollect(
        self,
        asked: Recollection,
        x: Streams,
        noise: Noise | None,
        *,
        keep: bool = False,
    ) -> tuple[States, Any]:
        """As `run`, and what the last call hands on."""
        draws = self.draws
        if draws and noise is None:
            raise ValueError("this sampler draws noise at every step; pass some")
        dtype = jnp.promote_types(jnp.result_type(*jax.tree.leaves(x)), jnp.float32)
        rows = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), self)
        x = jax.tree.map(lambda leaf: leaf.astype(dtype), x)
        nothing = jax.tree.map(jnp.zeros_like, x)
        depths = self.of_x0.shape[1], self.of_eps.shape[1]
        past = tuple([nothing] * max(depth - 1, 0) for depth in depths)

        def body(carry: Any, given: tuple[Array, Steps]) -> tuple[Any, Streams | None]:
            x, (old_x0, old_eps), memory = carry
            number, row = given
            z = nothing if noise is None or not draws else noise(number)
            x = _sum([(1.0, x), (row.before, z)])
            now, memory = asked.estimate(x, row.calls, memory)
            x0, eps = [now.x0, *old_x0][: depths[0]], [now.eps, *old_eps][: depths[1]]
            if row.variances is not None:
                z = _scaled(z, now.variance, row.variances)
            terms: list[tuple[Any, Streams]] = [(row.of_x, x)]
            terms += zip(row.of_x0, x0, strict=True)
            terms += zip(row.of_eps, eps, strict=True)
            x = _sum([*terms, (row.of_noise, z)])
            past = x0[: len(old_x0)], eps[: len(old_eps)]
            return (x, past, memory), x if keep else None

        numbers = jnp.arange(len(self))
        (last, _, memory), states = jax.lax.scan(
            body, (x, past, asked.start), (numbers, rows)
        )
        return states if keep else last, memory


def make(
    calls: Points,
    *,
    of_x: Column | float = 0.0,
    of_x0: Sequence[Column | float] = (),
    of_eps: Sequence[Column | float] = (),
    of_noise: Column | float = 0.0,
    before: Column | float = 0.0,
    variances: Float[np.ndarray, "S 2"] | None = None,
) -> Steps:
    """The table; what is left out is 0.

    of_x0, of_eps: a column for the newest belief, for the one before it, and so on.
    variances: where the denoiser chooses the variance of the noise, the logs of the
    smallest and the largest; `of_noise` is then 1 or 0.
    UserError where a number is not finite: the method has no such step.
    """
    ones = np.ones(len(calls.t))

    def columns(values: Sequence[Column | float]) -> Float[np.ndarray, "S J"]:
        return (
            np.stack([v * ones for v in values], 1) if values else ones[:, None][:, :0]
        )

    table = Steps(
        calls=calls,
        of_x=of_x * ones,
        of_x0=columns(of_x0),
        of_eps=columns(of_eps),
        of_noise=of_noise * ones,
        before=before * ones,
        variances=variances,
        draws=bool(np.any(of_noise) or np.any(before)),
    )
    numbers = [table.of_x, table.of_x0, table.of_eps, table.of_noise, table.before]
    is_finite = np.all(np.isfinite(np.column_stack(numbers)), axis=1)
    if not is_finite.all():
        row = int(np.argmin(is_finite))
        raise NoAnswer(
            f"the sampler has no step from t = {calls.t[row]:.4g}, number {row + 1} of "
            f"{len(is_finite)}, where alpha is {calls.alpha[row]:.3g} and sigma "
            f"{calls.sigma[row]:.3g}; start a little lower (t_max), or choose another "
            "sampler or grid"
        )
    return table


def is_of_x0(believes: str) -> bool:
    """Whether a method extrapolates "x0", rather than "eps"."""
    return choose({"x0": True, "eps": False}, believes, "what the sampler believes")


def make_of(
    believes: str,
    calls: Points,
    columns: Sequence[Column],
    *,
    of_x: Column,
    of_noise: Column | float = 0.0,
) -> Steps:
    """A table that looks at one belief alone, "x0" or "eps"."""
    if is_of_x0(believes):
        return make(calls, of_x=of_x, of_x0=columns, of_noise=of_noise)
    return make(calls, of_x=of_x, of_eps=columns, of_noise=of_noise)


def followed(first: Steps, second: Steps) -> Steps:
    """One table after the other."""

    def joined(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        if a.ndim == 2:  # beliefs that one of them does not look back to
            depth = max(a.shape[1], b.shape[1])
            a, b = (np.pad(t, ((0, 0), (0, depth - t.shape[1]))) for t in (a, b))
        return np.concatenate([a, b])

    draws = first.draws or second.draws
    both = (dataclasses.replace(table, draws=draws) for table in (first, second))
    return jax.tree.map(joined, *both)


def _sum(terms: list[tuple[Any, Streams]]) -> Streams:
    """The sum of coefficient times tree."""
    coefficients, trees = zip(*terms, strict=True)

    def leaf(*leaves: Array) -> Array:
        return sum(c * x for c, x in zip(coefficients, leaves, strict=True))

    return jax.tree.map(leaf, *trees)


def _scaled(
    z: Streams, variance: Streams | None, bounds: Float[np.ndarray, "2"] | Array
) -> Streams:
    """Noise of the variance that the denoiser says."""
    if variance is None:
        raise UserError(
            "the sampler takes the variance from the denoiser, which says none; choose "
            "a fixed variance or a model with learn_sigma"
        )
    low, high = bounds
    return jax.tree.map(
        lambda z, said: z * jnp.exp(0.5 * log_variance(said, low, high)), z, variance
    )
