"""Every random draw of the project, as a pure function of (seed, stream, step, row).

A row is a position in the global batch, before micro-batching or sharding, so noise,
times and dropout do not depend on the mesh, the number of hosts, or a restart. No key
is split from a chain that would have to be saved.
"""

import zlib

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key, UInt32

from dit_jax.errors import UserError


def stream(
    seed: int | UInt32[Array, ""], name: str, step: Int[Array, ""] | int
) -> Key[Array, ""]:
    """The key of one named stream at one step. The generator is threefry."""
    if isinstance(seed, int) and not 0 <= seed < 2**32:
        raise UserError(f"seed is {seed}; choose one of 0 to {2**32 - 1}")
    key = jax.random.key(seed, impl="threefry2x32")
    return jax.random.fold_in(
        jax.random.fold_in(key, zlib.crc32(name.encode()) & 0x7FFFFFFF), step
    )


def per_row(
    key: Key[Array, ""], rows: Int[Array, " B"] | UInt32[Array, " B"]
) -> Key[Array, " B"]:
    """One key a row: row i of the global batch draws the same wherever it lives."""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, rows)


def normal_rows(
    key: Key[Array, ""], rows: Int[Array, " B"], shape: tuple[int, ...]
) -> Array:
    """Standard normal noise [B, *shape], float32, drawn row by row."""
    draw = lambda k: jax.random.normal(k, shape, dtype=jnp.float32)  # noqa: E731
    return jax.vmap(draw)(per_row(key, rows))


def uniform_rows(key: Key[Array, ""], rows: Int[Array, " B"]) -> Array:
    """Uniform numbers in [0, 1), one a row, float32."""
    return jax.vmap(jax.random.uniform)(per_row(key, rows))
