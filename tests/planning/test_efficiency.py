"""Shares of the peak: each chip has them, and padding costs what it pads."""

import pytest

from dit_jax.parallel.chips import CHIPS
from dit_jax.planning import efficiency


@pytest.mark.parametrize("chip", CHIPS.values(), ids=CHIPS)
def test_every_chip_has_shares_and_their_source(chip):
    found = efficiency.of(chip)
    shares = [found.matmul, *found.forward.values(), *found.backward.values()]
    assert all(0 < share < 1 for share in shares)
    assert found.source


def test_heads_of_72_cost_a_tpu_what_heads_of_128_do():
    lanes, shares = efficiency.LANES, efficiency.IRONWOOD.forward
    ratio = efficiency.attention(shares, 72, lanes) / shares[128]
    assert ratio == pytest.approx(72 / 128)


@pytest.mark.parametrize("head_dim", [16, 64, 72, 100, 128, 200, 256, 320])
def test_no_width_of_head_is_faster_than_the_fastest_measured(head_dim):
    for found in efficiency.EFFICIENCIES.values():
        share = efficiency.attention(found.forward, head_dim, found.lanes)
        assert 0 < share <= max(found.forward.values())


def test_wider_heads_help_where_the_matrix_unit_is_wide_and_only_there():
    def gain(name):
        found = efficiency.of(CHIPS[name])
        widths = (efficiency.attention(found.backward, h, 128) for h in (256, 128))
        wide, narrow = widths
        return wide / narrow

    assert gain("tpu7x") == gain("v6e") == pytest.approx(1.93, abs=0.01)
    assert gain("v5p") == gain("v5e") == 1
