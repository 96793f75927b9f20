import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax.models.attention import xla
from dit_jax.models.patterns import (
    SPATIAL,
    TEMPORAL,
    MultiResolution,
    Windows,
    halved,
    joint,
    window_members,
)
from dit_jax.models.scene import Scene

GRID = (3, 4, 5)
PLACES = np.stack(np.unravel_index(np.arange(60), GRID), axis=1)
WINDOWS = Windows((2, 2, 3))
SHIFTED = Windows((2, 2, 3), shifted=True)


def in_window(windows):
    """The window each place is in, worked out axis by axis."""
    size, first = np.array(windows.size), np.array(windows.size)
    if windows.shifted:
        first = size // 2
    return np.where(first > PLACES, 0, 1 + (PLACES - first) // size)


# Which places see which, as a table of truths.
def same(columns):
    return (columns[:, None] == columns[None]).all(-1)


SEEN = {
    joint: np.ones((60, 60), bool),
    SPATIAL: same(PLACES[:, :1]),
    TEMPORAL: same(PLACES[:, 1:]),
    WINDOWS: same(in_window(WINDOWS)),
    SHIFTED: same(in_window(SHIFTED)),
}


def qkv():
    return jax.random.normal(jax.random.key(0), (3, 2, 60, 2, 8))


def masked(seen, ids=None):
    """Attention in float64 over the pairs that a table allows."""
    q, k, v = np.asarray(qkv(), np.float64)
    seen = np.broadcast_to(seen, (2, 60, 60))
    if ids is not None:
        seen = seen & (ids[:, :, None] == ids[:, None])
    scores = np.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(8)
    scores = np.where(seen[:, None], scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return np.einsum("bhqk,bkhd->bqhd", weights, v)


@pytest.mark.parametrize("segments", [False, True])
@pytest.mark.parametrize("pattern", SEEN)
def test_a_pattern_is_masked_attention_over_the_pairs_it_lets_see(pattern, segments):
    ids = np.random.default_rng(0).integers(0, 2, (2, 60)) if segments else None
    scene = Scene(GRID, segment_ids=None if ids is None else jnp.asarray(ids))
    out = pattern(xla, *qkv(), scene)
    np.testing.assert_allclose(out, masked(SEEN[pattern], ids), rtol=1e-5, atol=1e-5)


def test_windows_as_large_as_the_grid_are_joint_attention():
    out = Windows((9, 9, 9), shifted=True)(xla, *qkv(), Scene(GRID))
    np.testing.assert_allclose(out, masked(SEEN[joint]), rtol=1e-5, atol=1e-5)


def test_two_shifts_in_turn_join_windows_that_one_keeps_apart():
    once, other = (SEEN[w].astype(int) for w in (WINDOWS, SHIFTED))
    assert ((once @ other) > 0).sum() > 2 * once.sum()


def test_multi_resolution_is_the_mean_over_its_levels():
    levels = [Windows(halved(GRID, 2)), Windows(halved(GRID, 1)), joint]
    outs = [level(xla, *qkv(), Scene(GRID)) for level in levels]
    out = MultiResolution(3)(xla, *qkv(), Scene(GRID))
    np.testing.assert_allclose(out, np.mean(outs, axis=0), rtol=1e-5, atol=1e-6)


def test_level_l_of_a_grid_of_powers_of_two_has_two_to_the_rest_windows():
    grid = (4, 8, 8)
    for times in range(6):
        members = window_members(grid, Windows(halved(grid, times)))
        assert len(members) == 2**times and (members >= 0).all()
