"""Where a token is: rotary and additive positions on a (T, H, W) grid of tokens.

Both are functions of the grid at hand, so a model has no size of its own. A token at
grid index p along an axis with d channels has the angles p * theta^(-2i/d),
i = 0 .. d/2 - 1, computed in float64 and rounded once to float32.
"""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
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
    grid: Sequence[int], split: Sequence[int], theta: float
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


def no_rotary(
    x: Float[Array, "B N heads head_dim"], grid: Triple
) -> Float[Array, "B N heads head_dim"]:
    """The rotation that is not there."""
    del grid
    return x


def sincos_3d(grid: Triple, width: int, theta: float = 1e4) -> Float[Array, "N D"]:
    """Fixed table: per axis all sines, then all cosines; values in [-1, 1].

    The 1-D form of MAE and DiT on each axis, channels split by `axis_split`.
    """
    angles = axis_angles(grid, axis_split(width), theta)
    return spread([jnp.float32(_waves(a)) for a in angles], grid)


def sincos_2d(grid: Triple, width: int) -> Float[Array, "N D"]:
    """DiT's table of a frame, the same for all: first half the column, then the row."""
    _, rows, columns = _angles_2d(grid, width)
    t, h, w = grid
    tables = [
        jnp.broadcast_to(
            jnp.float32(_waves(columns))[None, None], (t, h, w, width // 2)
        ),
        jnp.broadcast_to(
            jnp.float32(_waves(rows))[None, :, None], (t, h, w, width // 2)
        ),
    ]
    return jnp.concatenate(tables, axis=-1).reshape(t * h * w, width)


def sincos_time(grid: Triple, width: int) -> Float[Array, "N D"]:
    """VDT's and Latte's table of the frame alone, as wide as the model."""
    t, h, w = grid
    (frames,) = axis_angles((t,), (width,), 1e4)
    table = jnp.float32(_waves(frames))[:, None]
    return jnp.broadcast_to(table, (t, h * w, width)).reshape(t * h * w, width)


def sincos_2d_and_time(grid: Triple, width: int) -> Float[Array, "N D"]:
    """VDT's input positions: the two tables added."""
    return sincos_2d(grid, width) + sincos_time(grid, width)


def no_positions(grid: Triple, width: int) -> Float[Array, "N D"]:
    return jnp.zeros((int(np.prod(grid)), width))


def _angles_2d(grid: Triple, width: int) -> list[Float[np.ndarray, "length pairs"]]:
    if width % 4:
        raise ValueError(
            f"2-D positions need a model.width that 4 divides, which {width} is not; "
            "change it"
        )
    return axis_angles(grid, (0, width // 2, width // 2), 1e4)


def _waves(angles: Float[np.ndarray, "length pairs"]) -> Float[np.ndarray, "length d"]:
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)


class FixedPositions(nnx.Module):
    """Adds `scale` times a table of the grid to the patches; extra tokens get none."""

    def __init__(
        self,
        table: Callable[[Triple, int], Array],
        *,
        scale: float = 1.0,
        rngs: nnx.Rngs,
    ):
        del rngs
        self.table, self.scale = table, scale

    def __call__(
        self, patches: Float[Array, "B N D"], extra: Float[Array, "B K D"], grid: Triple
    ) -> Float[Array, "B N_and_K D"]:
        """[extra, patches], one sequence."""
        table = self.scale * self.table(grid, patches.shape[-1])
        patches = patches + table.astype(patches.dtype)[None]
        return jnp.concatenate([extra.astype(patches.dtype), patches], axis=1)


class LearnedPositions(nnx.Module):
    """A learned vector for every extra token and every patch of `grid`, N(0, 0.02).

    Another grid gets the patches' table resized bilinearly (UniDiffuser).
    """

    def __init__(self, grid: Triple, num_extra: int, width: int, *, rngs: nnx.Rngs):
        draw = nnx.initializers.truncated_normal(0.02)
        axes = (None, "embed")
        self.extra = nnx.Param(
            draw(rngs.params(), (num_extra, width)), out_sharding=axes
        )
        self.patches = nnx.Param(
            draw(rngs.params(), (int(np.prod(grid)), width)), out_sharding=axes
        )
        self.grid = grid

    def __call__(
        self, patches: Float[Array, "B N D"], extra: Float[Array, "B K D"], grid: Triple
    ) -> Float[Array, "B N_and_K D"]:
        """[extra, patches], one sequence."""
        if extra.shape[1] != self.extra.shape[0]:
            raise ValueError(
                f"{extra.shape[1]} tokens stand before the patches, but the learned "
                f"positions were made for {self.extra.shape[0]}; change "
                "model.positions or the length of the text"
            )
        table = self.patches[...]
        if grid != self.grid:
            table = jax.image.resize(
                table.reshape(*self.grid, -1),
                (*grid, table.shape[-1]),
                method="linear",
                antialias=False,
            ).reshape(-1, table.shape[-1])
        tokens = jnp.concatenate([extra.astype(patches.dtype), patches], axis=1)
        both = jnp.concatenate([self.extra[...], table])
        return tokens + both.astype(tokens.dtype)[None]
