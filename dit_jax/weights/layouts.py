"""How one parameter of another program is laid out, and how it is turned into ours.

A layout is a pair of functions that undo each other bit for bit: they only move numbers
(and flip signs), they never add or multiply. Arrays are numpy, per layer.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Shaped

Weights = Shaped[np.ndarray, "..."]
Turn = Callable[[Weights], Weights]


@dataclasses.dataclass(frozen=True)
class Layout:
    """to_ours and to_theirs undo each other."""

    to_ours: Turn
    to_theirs: Turn


SAME = Layout(lambda w: w, lambda w: w)
LINEAR = Layout(np.transpose, np.transpose)  # (out, in) <-> (in, out)
NEGATED = Layout(np.negative, np.negative)
NEGATED_LINEAR = Layout(lambda w: -w.T, lambda w: -w.T)
TABLE = Layout(lambda w: w[0], lambda w: w[None])  # (1, N, D) <-> (N, D)
# rows of labels <-> the same, and a row for no label
WITHOUT_NULL = Layout(lambda w: np.pad(w, ((0, 1), (0, 0))), lambda w: w[:-1])
TOKEN = Layout(lambda w: w[0, 0], lambda w: w[None, None])  # (1, 1, D) <-> (D,)
# (out, in, rows, columns) <-> (rows, columns, in, out)
CONV = Layout(lambda w: w.transpose(2, 3, 1, 0), lambda w: w.transpose(3, 2, 0, 1))


def patch_embedding(side: int, channels: int) -> Layout:
    """(D, C, p, p) of a strided convolution <-> (p p C, D) of a linear map."""
    return Layout(
        lambda w: w.transpose(2, 3, 1, 0).reshape(-1, w.shape[0]),
        lambda w: w.reshape(side, side, channels, -1).transpose(3, 2, 0, 1),
    )


def fused_heads(num_heads: int, parts: int = 3) -> Layout:
    """Rows (part, head, head_dim) of a fused map <-> columns (head, part, head_dim)."""
    return Layout(
        lambda w: _swapped(w, parts, num_heads).T,
        lambda w: _swapped(w.T, num_heads, parts),
    )


def fused_heads_bias(num_heads: int, parts: int = 3) -> Layout:
    """The bias that goes with `fused_heads`."""
    return Layout(
        lambda w: _swapped(w, parts, num_heads),
        lambda w: _swapped(w, num_heads, parts),
    )


def _swapped(w: Weights, first: int, second: int) -> Weights:
    """The first dim as (first, second, rest), reordered to (second, first, rest)."""
    cut = w.reshape(first, second, -1, *w.shape[1:])
    return cut.swapaxes(0, 1).reshape(w.shape)
