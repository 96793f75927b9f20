"""How many tokens the splash kernels hold at once, and tokens cut into such blocks.

Larger blocks read keys and values less often, until a block with its scores overflows
the on-chip memory that XLA gives a kernel by default. Blocks of 128, the kernels' own
default, are about ten times too slow.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from dit_jax.types import PADDED

LANES = 128  # of a vector register: blocks are multiples of it
# The backward kernel leaves one share of d_q, as large as q, for every block of keys;
# they are summed after so many blocks, or memory would grow with tokens squared.
STRIPE = 4


class Blocks(NamedTuple):
    """Tokens: queries and keys of a block; keys of one matrix product, which divide
    those of the block."""

    query: int
    key: int
    compute: int


class Sizes(NamedTuple):
    forward: Blocks
    backward: Blocks


# By the bytes of a token's head, filled up to whole registers: 256 are 128 channels or
# fewer in bfloat16. All of them compile with libtpu 0.0.42 within the 16 MiB that XLA
# gives a kernel on v4 and v5, or the larger share on later chips, segments included;
# on v4 and v5 the next larger ones overflow on at least one chip.
SMALL_MEMORY = {
    256: Sizes(Blocks(1024, 2048, 1024), Blocks(1024, 2048, 512)),
    512: Sizes(Blocks(1024, 1024, 1024), Blocks(1024, 1024, 512)),
    1024: Sizes(Blocks(512, 1024, 512), Blocks(512, 512, 512)),
}
LARGE_MEMORY = {
    256: Sizes(Blocks(2048, 2048, 1024), Blocks(2048, 2048, 1024)),
    512: Sizes(Blocks(1024, 2048, 1024), Blocks(1024, 2048, 1024)),
    1024: Sizes(Blocks(1024, 1024, 1024), Blocks(1024, 1024, 1024)),
}
# by JAX's `device_kind`
BLOCKS = {
    "TPU v4": SMALL_MEMORY,
    "TPU v5 lite": SMALL_MEMORY,  # v5e
    "TPU v5": SMALL_MEMORY,  # v5p
    "TPU v6 lite": LARGE_MEMORY,  # v6e
    "TPU7x": LARGE_MEMORY,
}


def sizes_for(chip: str, head_dim: int, itemsize: int) -> Sizes:
    """Of a chip that is in the table, or the smallest; itemsize: bytes of a number.

    Heads wider than 256 float32 channels get the blocks of those.
    """
    table = BLOCKS.get(chip, SMALL_MEMORY)
    width = _up(head_dim, LANES) * itemsize
    return table[min((known for known in table if known >= width), default=max(table))]


class Cut(NamedTuple):
    """Filling up and cutting; sizes as in `Blocks`, but no larger than needed.

    num_queries, num_keys: tokens that there are.
    """

    query: int
    key: int
    compute: int
    num_queries: int
    num_keys: int

    @classmethod
    def of(cls, blocks: Blocks, num_queries: int, num_keys: int) -> "Cut":
        compute = min(blocks.compute, _up(num_keys, LANES))
        query = _even(num_queries, blocks.query, LANES)
        key = _even(num_keys, blocks.key, compute)
        return cls(query, key, compute, num_queries, num_keys)

    def queries(self, x: Array) -> Array:
        """[B, N, heads, d] -> [B, heads, whole blocks, d]."""
        return _filled(jnp.swapaxes(x, 1, 2), self.query, 2)

    def keys(self, x: Array) -> Array:
        """[B, M, heads, d] -> [B, heads, whole blocks, d]."""
        return _filled(jnp.swapaxes(x, 1, 2), self.key, 2)

    def rows(self, x: Array) -> Array:
        """[B, heads, N] -> [B, heads, whole blocks]."""
        return _filled(x, self.query, 2)

    def ids(
        self, query_ids: Array | None, key_ids: Array | None, rows: int
    ) -> tuple[Array, Array] | None:
        """[B, whole blocks] of queries and keys; None where nothing must be hidden."""
        if query_ids is None or key_ids is None:
            if self.num_keys % self.key == 0:
                return None
            query_ids = jnp.zeros((rows, self.num_queries), jnp.int32)
            key_ids = jnp.zeros((rows, self.num_keys), jnp.int32)
        return (
            _filled(query_ids, self.query, 1, PADDED),
            _filled(key_ids, self.key, 1, PADDED),
        )

    def stripes(self, x: Array, axis: int) -> Array:
        """Blocks of keys along `axis` in runs of at most STRIPE; runs come first."""
        blocks = x.shape[axis] // self.key
        run = max(n for n in range(1, STRIPE + 1) if blocks % n == 0)
        shape = (blocks // run, run * self.key)
        x = x.reshape(*x.shape[:axis], *shape, *x.shape[axis + 1 :])
        return jnp.moveaxis(x, axis, 0)

    def joined(self, x: Array) -> Array:
        """Stripes [n, B, heads, tokens, d] -> [B, M, heads, d]."""
        n, rows, heads, tokens, dim = x.shape
        x = x.transpose(1, 0, 3, 2, 4).reshape(rows, n * tokens, heads, dim)
        return x[:, : self.num_keys]


def _up(n: int, step: int) -> int:
    return -(-n // step) * step


def _even(n: int, block: int, step: int) -> int:
    """Equal blocks of at most `block` tokens, with little filling."""
    return _up(math.ceil(n / math.ceil(n / block)), step)


def _filled(x: Array, block: int, axis: int, value: int = 0) -> Array:
    widths = [(0, 0)] * x.ndim
    widths[axis] = (0, -x.shape[axis] % block)
    return jnp.pad(x, widths, constant_values=value)
