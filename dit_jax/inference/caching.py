"""Step caching: calls that spare the blocks and add what they added at the last call.

Near each other in time, the residual that a stack of blocks adds to its tokens hardly
changes. A rule says at which calls it is kept:

    Schedule    before anything runs, from a curve that was measured once. MagCache,
                Ma et al. 2025, arXiv:2506.09045
    Threshold   as it goes, by how much the modulated input of the first block has
                changed since the blocks last ran. TeaCache, Liu et al. 2024,
                arXiv:2411.19108

Embedding, modulation and head run at every call.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from dit_jax.diffusion.points import Points
from dit_jax.diffusion.samplers.steps import Belief, Estimate, Recollection
from dit_jax.diffusion.streams import Streams
from dit_jax.models.primitives import layer_norm, modulate
from dit_jax.models.transformer import Blocks

Curve = Float[np.ndarray, " S"]


class Memory(NamedTuple):
    """What one call hands to the next.

    number: of the call. residual: what the blocks added when they last ran. signal:
    what the first block saw at the call before. drift: the change since the blocks last
    ran, as a rule counts it. ran: calls at which they ran. ratios, changes: by call,
    how long the residual is beside the one before; how much signal and residual
    changed. They are of use where no call is spared.
    """

    number: Int[Array, ""]
    residual: Float[Array, "B N D"]
    signal: Float[Array, "B N D"]
    drift: Float[Array, ""]
    ran: Int[Array, ""]
    ratios: Float[Array, " S"]
    changes: Float[Array, "S 2"]


@runtime_checkable
class Rule(Protocol):
    """When the blocks are spared."""

    def spares(
        self, memory: Memory, change: Float[Array, ""]
    ) -> tuple[Bool[Array, ""], Float[Array, ""]]:
        """Whether this call is spared, and the drift if it is.

        change: of the signal since the call before, relative.
        """


@dataclasses.dataclass(frozen=True)
class Never:
    """Every call runs the blocks: what measures a curve."""

    def spares(
        self, memory: Memory, change: Float[Array, ""]
    ) -> tuple[Bool[Array, ""], Float[Array, ""]]:
        return jnp.zeros((), bool), memory.drift


@dataclasses.dataclass(frozen=True, eq=False)
class Schedule:
    """Calls known beforehand. spared: [S], True where the blocks do not run."""

    spared: Bool[np.ndarray, " S"]

    def spares(
        self, memory: Memory, change: Float[Array, ""]
    ) -> tuple[Bool[Array, ""], Float[Array, ""]]:
        return jnp.asarray(self.spared)[memory.number], memory.drift


@dataclasses.dataclass(frozen=True)
class Threshold:
    """Spared while the estimated change of the output since the last run is below
    `threshold`; never at the first and the last call of `num_calls`.

    coefficients: of the polynomial from the change of the signal to that of the
    output, highest power first.
    """

    threshold: float
    coefficients: tuple[float, ...]
    num_calls: int

    def spares(
        self, memory: Memory, change: Float[Array, ""]
    ) -> tuple[Bool[Array, ""], Float[Array, ""]]:
        drift = memory.drift + jnp.polyval(jnp.asarray(self.coefficients), change)
        is_inner = (memory.number > 0) & (memory.number < self.num_calls - 1)
        return is_inner & (drift < self.threshold), drift


def schedule(
    ratios: Curve, *, threshold: float = 0.06, longest: int = 2, kept: float = 0.2
) -> Schedule:
    """The calls that a curve allows to spare.

    ratios: how long the residual of each call is beside that of the call before, on a
    way where none is spared. threshold: on the summed error of the lengths that spared
    calls believe. longest: calls spared in a row. kept: share of the first calls that
    always run. arXiv:2506.09045, algorithm 1.
    """
    spared = np.zeros(len(ratios), bool)
    length, error, run = 1.0, 0.0, 0
    for i in range(max(1, round(kept * len(ratios))), len(ratios)):
        length *= ratios[i]
        error += abs(1 - length)
        run += 1
        spared[i] = error < threshold and run <= longest
        if not spared[i]:
            length, error, run = 1.0, 0.0, 0
    return Schedule(spared)


class Around:
    """Stands around the stack of one call: runs it or adds the old residual.

    `memory` is what to hand on, once the call was traced.
    """

    def __init__(self, rule: Rule, memory: Memory):
        self.rule, self.memory = rule, memory

    def __call__(self, blocks: Blocks, tokens: Array, modulations: Array) -> Array:
        old = self.memory
        signal = seen_first(tokens, modulations)
        change = relative_change(signal, old.signal)
        spared, drift = self.rule.spares(old, change)
        residual = jax.lax.cond(
            spared,
            lambda: old.residual,
            lambda: (blocks(tokens) - tokens).astype(old.residual.dtype),
        )
        here = old.number
        lengths = (jnp.linalg.norm(r, axis=-1) for r in (residual, old.residual))
        now, before = lengths
        ratio = jnp.mean(now / jnp.maximum(before, 1e-6))
        both = jnp.stack([change, relative_change(residual, old.residual)])
        self.memory = Memory(
            number=here + 1,
            residual=residual,
            signal=signal,
            drift=jnp.where(spared, drift, 0.0),
            ran=old.ran + jnp.where(spared, 0, 1),
            ratios=old.ratios.at[here].set(ratio),
            changes=old.changes.at[here].set(both),
        )
        return tokens + residual.astype(tokens.dtype)


def seen_first(tokens: Array, modulations: Array) -> Float[Array, "B N D"]:
    """The input of the first block, normed and modulated where it is."""
    normed = layer_norm(tokens)
    if modulations.shape[-2] < 2:
        return normed
    return modulate(normed, modulations[0, :, :, 0], modulations[0, :, :, 1])


def relative_change(now: Array, before: Array) -> Float[Array, ""]:
    """Mean absolute difference over the mean absolute value before."""
    return jnp.mean(jnp.abs(now - before)) / jnp.maximum(
        jnp.mean(jnp.abs(before)), 1e-6
    )


def recollection(
    make_estimate: Callable[..., Estimate], rule: Rule, x: Streams, calls: Points
) -> Recollection:
    """What a table walks by: `make_estimate(around=...)` under a rule."""

    def estimate(x: Streams, point: Points, memory: Memory) -> tuple[Belief, Memory]:
        around = Around(rule, memory)
        belief = make_estimate(around=around)(x, point)
        return belief, around.memory

    return Recollection(estimate, _first(make_estimate, x, calls))


def _first(make_estimate: Callable[..., Estimate], x: Streams, calls: Points) -> Memory:
    """Of the shape that the stack's tokens have; nothing is computed."""
    shapes: list[tuple[int, ...]] = []

    def probe(blocks: Blocks, tokens: Array, modulations: Array) -> Array:
        shapes.append(tokens.shape)
        return blocks(tokens)

    start = Points(*(jnp.float32(column[0]) for column in calls))
    jax.eval_shape(lambda: make_estimate(around=probe)(x, start))
    nothing, num_calls = jnp.zeros(shapes[0], jnp.float32), len(calls.t)
    return Memory(
        number=jnp.int32(0),
        residual=nothing,
        signal=nothing,
        drift=jnp.float32(0),
        ran=jnp.int32(0),
        ratios=jnp.ones(num_calls),
        changes=jnp.zeros((num_calls, 2)),
    )
