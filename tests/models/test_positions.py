import jax
import numpy as np
import pytest
from flax import nnx

from dit_jax.models import positions

GRID = (3, 4, 5)


def rotated(vector, split, grid=GRID):
    """The same head vector at every place of the grid, rotated: [*grid, head_dim]."""
    x = np.broadcast_to(vector, (1, int(np.prod(grid)), 1, vector.size))
    out = positions.Rotary(split)(jax.numpy.asarray(x), grid)
    return np.asarray(out, np.float64).reshape(*grid, -1)


@pytest.mark.parametrize("head_dim", [64, 72, 128, 256])
def test_rope_dot_products_depend_on_relative_positions_only(head_dim):
    q, k = np.random.default_rng(0).normal(size=(2, head_dim)).astype(np.float32)
    split = positions.axis_split(head_dim)
    q_at, k_at = rotated(q, split), rotated(k, split)
    there = np.einsum("thwd,thwd->thw", q_at[:-1, :-2, :-1], k_at[1:, 2:, 1:])
    np.testing.assert_allclose(there, there[0, 0, 0], rtol=1e-4, atol=1e-4)
    assert np.ptp(np.einsum("thwd,d->thw", q_at, k_at[0, 0, 0])) > 1


@pytest.mark.parametrize("axis", range(3))
def test_rope_tells_places_apart_along_every_axis(axis):
    vector = np.ones(24, np.float32)
    out = np.moveaxis(rotated(vector, (8, 8, 8)), axis, 0)
    assert np.abs(out[1] - out[0]).max() > 0.1


def test_rope_keeps_norms_and_leaves_the_origin():
    vector = np.random.default_rng(0).normal(size=64).astype(np.float32)
    out = rotated(vector, positions.axis_split(64))
    np.testing.assert_allclose(np.linalg.norm(out, axis=-1), np.linalg.norm(vector))
    np.testing.assert_array_equal(out[0, 0, 0], vector)


def test_rope_turns_interleaved_pairs_as_complex_numbers():
    grid, split = (7, 1, 1), (8, 0, 0)
    vector = np.arange(1.0, 9.0, dtype=np.float32)
    frequencies = 1e4 ** (-np.arange(0, 8, 2) / 8)
    turned = (vector[0::2] + 1j * vector[1::2]) * np.exp(1j * 6 * frequencies)
    out = rotated(vector, split, grid)[6, 0, 0]
    np.testing.assert_allclose(out[0::2] + 1j * out[1::2], turned, atol=1e-5)


@pytest.mark.parametrize(
    ("head_dim", "split"),
    [(64, (24, 20, 20)), (72, (24, 24, 24)), (128, (44, 42, 42)), (256, (88, 84, 84))],
)
def test_axis_split_of_the_usual_heads(head_dim, split):
    assert positions.axis_split(head_dim) == split


def test_a_width_that_has_no_pairs_for_three_axes_is_refused():
    with pytest.raises(ValueError, match=r"7 channels .* change model.width"):
        positions.axis_split(7)


def test_additive_positions_match_the_one_dimensional_table_on_each_axis():
    table = np.asarray(positions.sincos_3d(GRID, 48)).reshape(*GRID, 48)
    for axis, place in enumerate([2, 3, 4]):
        angles = place * 1e4 ** (-np.arange(8) / 8)
        index = [0, 0, 0]
        index[axis] = place
        wave = np.concatenate([np.sin(angles), np.cos(angles)])
        part = table[tuple(index)][16 * axis : 16 * (axis + 1)]
        np.testing.assert_allclose(part, wave, atol=1e-6)


def test_additive_positions_are_all_different():
    table = np.asarray(positions.sincos_3d(GRID, 24))
    assert len(np.unique(table.round(4), axis=0)) == np.prod(GRID)


def test_the_two_dimensional_table_encodes_the_column_first_and_repeats_by_frame():
    table = np.asarray(positions.sincos_2d(GRID, 32)).reshape(*GRID, 32)
    np.testing.assert_array_equal(table[0], table[2])
    angles = 3 * 1e4 ** (-np.arange(8) / 8)
    wave = np.concatenate([np.sin(angles), np.cos(angles)])
    np.testing.assert_allclose(table[1, 0, 3, :16], wave, atol=1e-6)
    np.testing.assert_allclose(table[1, 3, 0, 16:], wave, atol=1e-6)


def test_the_table_of_the_frames_is_the_same_at_every_site():
    table = np.asarray(positions.sincos_time(GRID, 16)).reshape(*GRID, 16)
    assert (table == table[:, :1, :1]).all()
    angles = 2 * 1e4 ** (-np.arange(8) / 8)
    wave = np.concatenate([np.sin(angles), np.cos(angles)])
    np.testing.assert_allclose(table[2, 1, 1], wave, atol=1e-6)


def learned(grid=GRID):
    return positions.LearnedPositions(grid, 2, 8, rngs=nnx.Rngs(0))


def test_learned_positions_are_added_to_extra_tokens_and_patches_in_order():
    part = learned()
    extra, patches = np.ones((1, 2, 8), np.float32), np.zeros((1, 60, 8), np.float32)
    out = part(jax.numpy.asarray(patches), jax.numpy.asarray(extra), GRID)
    np.testing.assert_allclose(out[0, :2], 1 + part.extra[...])
    np.testing.assert_allclose(out[0, 2:], part.patches[...])


def test_a_learned_table_is_resized_bilinearly_for_another_grid():
    """A table that is linear in the column stays so, between the outermost centres."""
    part = learned((1, 1, 4))
    part.patches[...] = jax.numpy.tile(jax.numpy.arange(4.0)[:, None], (1, 8))
    nothing = jax.numpy.zeros((1, 8, 8))
    out = part(nothing, jax.numpy.zeros((1, 2, 8)), (1, 1, 8))[0, 2:, 0]
    np.testing.assert_allclose(out, [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3])


def test_learned_positions_refuse_another_number_of_extra_tokens():
    with pytest.raises(ValueError, match=r"3 tokens .* made for 2; change"):
        learned()(jax.numpy.zeros((1, 60, 8)), jax.numpy.zeros((1, 3, 8)), GRID)
