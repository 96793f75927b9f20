"""What a token attends to: joint spacetime, its frame, its site, or windows.

A pattern is a function `(attention, q, k, v, scene) -> out` on [B, N, heads, head_dim]:
it cuts the tokens into groups, runs the attention function inside each, and puts them
back. Patterns have no parameters, so a model trained with one goes on with another.
Rotary positions are applied before, on the whole grid. Letters: S = H W sites.
"""

import dataclasses
import functools
import itertools
import operator
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jaxtyping import Array, Float, Int

from dit_jax import types
from dit_jax.models.positions import Triple
from dit_jax.models.scene import Scene

Tokens = Float[Array, "B N heads head_dim"]
Pattern = Callable[[types.Attention, Tokens, Tokens, Tokens, Scene], Tokens]


def joint(
    attention: types.Attention, q: Tokens, k: Tokens, v: Tokens, scene: Scene
) -> Tokens:
    """Every token of a clip attends to every other, extra tokens included."""
    return attention(q, k, v, scene.segment_ids)


@dataclasses.dataclass(frozen=True)
class Rearranged:
    """Attention along some axes of the grid: `cut` is an einops pattern over B, T,
    S."""

    cut: str

    def __call__(
        self,
        attention: types.Attention,
        q: Tokens,
        k: Tokens,
        v: Tokens,
        scene: Scene,
    ) -> Tokens:
        sizes = {"T": scene.grid[0], "B": q.shape[0]}
        join = " -> ".join(reversed(self.cut.split(" -> ")))
        parts = (rearrange(x, self.cut, **sizes) for x in (q, k, v))
        ids = scene.segment_ids
        ids = None if ids is None else rearrange(ids, self.cut, **sizes)
        return rearrange(attention(*parts, ids), join, **sizes)


SPATIAL = Rearranged("B (T S) ... -> (B T) S ...")  # the tokens of its frame
TEMPORAL = Rearranged("B (T S) ... -> (B S) T ...")  # its site in all frames


@dataclasses.dataclass(frozen=True)
class Windows:
    """A token attends to the tokens of its window of `size` (t, h, w) tokens.

    shifted: the windows' borders lie half a window further, so that two layers in turn
    join neighbours; windows at the edge of the video are smaller. A size beyond the
    grid is the whole axis. Swin (arXiv:2103.14030) in three dims, without its cyclic
    wrap.
    """

    size: Triple
    shifted: bool = False

    def __call__(
        self,
        attention: types.Attention,
        q: Tokens,
        k: Tokens,
        v: Tokens,
        scene: Scene,
    ) -> Tokens:
        return _grouped(window_members(scene.grid, self), attention, q, k, v, scene)


@dataclasses.dataclass(frozen=True)
class MultiResolution:
    """The mean of windowed attentions from 2^(levels - 1) windows down to the whole.

    Level l = 1 .. levels cuts the grid into 2^(levels - l) windows by halving its
    longest axis again and again.
    """

    levels: int

    def __call__(
        self,
        attention: types.Attention,
        q: Tokens,
        k: Tokens,
        v: Tokens,
        scene: Scene,
    ) -> Tokens:
        outs = [level(attention, q, k, v, scene) for level in self._at(scene.grid)]
        return functools.reduce(operator.add, outs) / self.levels

    def _at(self, grid: Triple) -> list[Pattern]:
        cuts = range(self.levels - 1, 0, -1)
        return [*(Windows(halved(grid, times)) for times in cuts), joint]


def halved(grid: Triple, times: int) -> Triple:
    """The window left after cutting the longest axis in two, `times` times."""
    size = list(grid)
    for _ in range(times):
        longest = size.index(max(size))
        size[longest] = -(-size[longest] // 2)
    t, h, w = size
    return t, h, w


def window_members(grid: Triple, windows: Windows) -> Int[np.ndarray, "groups n"]:
    """The tokens of every window, filled up with -1 to the size of the largest."""
    parts = []
    for length, size in zip(grid, windows.size, strict=True):
        first = size // 2 or size if windows.shifted and size < length else size
        cuts = [0, *range(first, length, size), length]
        parts.append([range(a, b) for a, b in itertools.pairwise(cuts)])
    number = np.arange(np.prod(grid)).reshape(grid)
    groups = [number[np.ix_(*box)].ravel() for box in itertools.product(*parts)]
    largest = max(map(len, groups))
    return np.stack(
        [np.pad(g, (0, largest - len(g)), constant_values=-1) for g in groups]
    )


def _grouped(
    members: Int[np.ndarray, "groups n"],
    attention: types.Attention,
    q: Tokens,
    k: Tokens,
    v: Tokens,
    scene: Scene,
) -> Tokens:
    """Attention inside each group; a token's output is read where its group has it."""
    batch, (groups, size) = q.shape[0], members.shape

    def cut(x: Array) -> Array:
        # -1 reads the last token, whose place here is then hidden by its segment
        return x[:, members].reshape(batch * groups, size, *x.shape[2:])

    filled = members >= 0
    ids = None
    if scene.segment_ids is not None:
        ids = jnp.where(jnp.tile(filled, (batch, 1)), cut(scene.segment_ids), -1)
    elif not filled.all():
        ids = jnp.tile(jnp.where(filled, 0, -1), (batch, 1))
    out = attention(cut(q), cut(k), cut(v), ids)
    place = np.empty(int(filled.sum()), np.int64)
    place[members[filled]] = np.flatnonzero(filled)
    return out.reshape(batch, groups * size, *out.shape[2:])[:, place]
