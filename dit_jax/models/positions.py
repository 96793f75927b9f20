"""Where a token is: rotary and additive positions on a (T, H, W) grid of tokens.

Both are functions of the grid at hand, so a model has no size of its own. A token at
grid index p along an axis with d channels has the angles p * theta^(-2i/d),
i = 0 .. d/2 - 1, computed in float64 and rounded once to float32.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Triple = tuple[int, int, int]


def axis_split(width: int) -> Triple:
    """Even channel counts for (t, h, w): two sixths each for h and w, the rest for t.

    64 -> 24 20 20, 72 -> 24 24 24, 128 -> 44 42 42, 256 -> 88 84 84 (the split of Wan
    2.1). ValueError when the width is odd or below 6.
    """
    if width % 2 or width < 6:
        raise ValueError(
            f"{width} channels cannot be split over three axes in pairs; change "
            "model.width or model.num_heads so that they are even and at least 6"
        )
    side = 2 * (width // 6)
    return width - 2 * side, side, side


def axis_angles(
    grid: Triple, split: Triple, theta: float
) -> list[Float[np.ndarray, "length pairs"]]:
    """One table of angles per axis, float64."""
    return [
        np.outer(np.arange(length), theta ** (-np.arange(0, dims, 2) / max(dims, 1)))
        for length, dims in zip(grid, split, strict=True)
    ]


def spread(tables: list[Array], grid: Triple) -> Float[Array, "N d"]:
    """Tables of the three axes side by side for every token of the grid.

    Broadcast on the device: tables of 75,000 tokens as constants would swell the
    compiled program by tens of megabytes.
    """
    t, h, w = grid
    shapes = [(t, 1, 1), (1, h, 1), (1, 1, w)]
    columns = [
        jnp.broadcast_to(table.reshape(*shape, table.shape[1]), (*grid, table.shape[1]))
        for table, shape in zip(tables, shapes, strict=True)
    ]
    return jnp.concatenate(columns, axis=-1).reshape(t * h * w, -1)


@dataclasses.dataclass(frozen=True)
class Rotary:
    """3-D rotary positions on interleaved pairs (2i, 2i + 1). arXiv:2104.09864.

    split: channels of a head for (t, h, w), even, summing to the head's width.
    """

    split: Triple
    theta: float = 1e4

    def __call__(
        self, x: Float[Array, "B N heads head_dim"], grid: Triple
    ) -> Float[Array, "B N heads head_dim"]:
        """Rotates each pair by its angle; norms are kept; float32 out."""
        angles = axis_angles(grid, self.split, self.theta)
        cos = spread([jnp.float32(np.cos(a)) for a in angles], grid)[None, :, None]
        sin = spread([jnp.float32(np.sin(a)) for a in angles], grid)[None, :, None]
        pairs = x.astype(jnp.float32).reshape(*x.shape[:-1], -1, 2)
        even, odd = pairs[..., 0], pairs[..., 1]
        turned = jnp.stack([even * cos - odd * sin, even * sin + odd * cos], axis=-1)
        return turned.reshape(x.shape)


def additive_positions(
    grid: Triple, width: int, theta: float = 1e4
) -> Float[Array, "N D"]:
    """Fixed 3-D sin-cos table: per axis all sines, then all cosines; values in [-1, 1].

    The 1-D form of MAE and DiT on each axis, channels split by `axis_split`.
    """
    angles = axis_angles(grid, axis_split(width), theta)
    waves = [np.concatenate([np.sin(a), np.cos(a)], axis=-1) for a in angles]
    return spread([jnp.float32(wave) for wave in waves], grid)
