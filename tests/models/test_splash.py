"""Splash kernels: blocks that fit, memory linear in tokens; on TPU, compiled only."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax.models.splash import Splash
from dit_jax.models.splash_blocks import (
    BLOCKS,
    LANES,
    STRIPE,
    Blocks,
    Cut,
    Sizes,
    sizes_for,
)
from tests.models import oracle

SIZES = [s for table in BLOCKS.values() for sizes in table.values() for s in sizes]


@pytest.mark.parametrize("length", [1, 100, 128, 1000, 1560, 2100, 75_600, 118_801])
def test_tokens_are_cut_into_equal_blocks_with_little_filling(length):
    for blocks in {*SIZES}:
        cut = Cut.of(blocks, length, length)
        assert cut.query <= blocks.query and cut.query % LANES == 0
        assert cut.key <= blocks.key and cut.key % cut.compute == 0
        assert cut.compute % LANES == 0
        for size, step in ((cut.query, LANES), (cut.key, cut.compute)):
            count = -(-length // size)
            assert count * size - length < count * step


def test_a_chip_that_is_not_in_the_table_gets_the_smallest_blocks():
    for width, itemsize in ((64, 2), (128, 2), (256, 2), (256, 4)):
        unknown = sizes_for("TPU v99", width, itemsize)
        for chip in BLOCKS:
            known = sizes_for(chip, width, itemsize)
            for ours, theirs in zip(unknown, known, strict=True):
                assert ours.query <= theirs.query and ours.key <= theirs.key


def test_wider_heads_never_get_larger_blocks():
    for chip in BLOCKS:
        narrow, wide, double = (
            sizes_for(chip, *each) for each in ((72, 2), (256, 2), (256, 4))
        )
        for one, two in ((narrow, wide), (wide, double)):
            assert all(a.query >= b.query for a, b in zip(one, two, strict=True))
            assert all(a.key >= b.key for a, b in zip(one, two, strict=True))


def backward(length, queries=256):
    """d_q, d_k, d_v of few queries and many keys, and the oracle's."""
    keys = jax.random.split(jax.random.key(0), 4)
    q, d_out = (jax.random.normal(k, (1, queries, 1, 8)) for k in keys[:2])
    k, v = (jax.random.normal(key, (1, length, 1, 8)) for key in keys[2:])
    blocks = Blocks(128, 128, 128)
    passes = Splash(sizes=Sizes(blocks, blocks), interpret=True)

    @jax.jit
    def run(q, k, v, d_out):
        out, lse = passes.forward(q, k, v, None, None)
        delta = jnp.swapaxes(jnp.sum(out * d_out, -1), 1, 2)
        return passes.backward(q, k, v, None, None, d_out, lse, delta)

    return run(q, k, v, d_out), oracle.gradients(q, k, v, d_out)


@pytest.mark.parametrize("blocks", [3, STRIPE, STRIPE + 1, 2 * STRIPE])
def test_keys_in_stripes_give_the_whole_gradient(blocks):
    for ours, exact in zip(*backward(128 * blocks - 5), strict=True):
        np.testing.assert_allclose(ours, exact, atol=1e-5 * np.abs(exact).max())


def test_a_part_of_the_keys_gets_its_share_from_the_lse_of_all():
    keys = jax.random.split(jax.random.key(0), 4)
    q, k, v, d_out = (jax.random.normal(key, (1, 256, 1, 64)) for key in keys)
    passes = Splash(interpret=True)
    out, lse = passes.forward(q, k, v, None, None)
    delta = jnp.swapaxes(jnp.sum(out * d_out, -1), 1, 2)

    def share(part):
        rest = None, None, d_out, lse, delta
        return passes.backward(q, k[:, part], v[:, part], *rest)

    first, second = share(slice(0, 100)), share(slice(100, None))
    whole = oracle.gradients(q, k, v, d_out)
    ours = (
        first[0] + second[0],
        *(
            jnp.concatenate(parts, 1)
            for parts in zip(first[1:], second[1:], strict=True)
        ),
    )
    for mine, exact in zip(ours, whole, strict=True):
        np.testing.assert_allclose(mine, exact, atol=1e-5 * np.abs(exact).max())
