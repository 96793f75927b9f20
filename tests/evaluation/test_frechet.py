import functools
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from dit_jax.evaluation import frechet

GOLDEN = Path(__file__).parent.parent / "golden"


def _draw(seed, n, width=12, scale=1.0, shift=0.0):
    random = np.random.RandomState(seed)
    mix = np.random.RandomState(width).randn(width, width)
    return (random.randn(n, width) @ mix * scale + shift).astype(np.float32)


def _golden(name):
    with safe_open(GOLDEN / f"{name}.safetensors", "numpy") as file:
        meta = json.loads(file.metadata()["meta"])
        names = file.keys()
        return {name: file.get_tensor(name) for name in names}, meta["notes"]


@pytest.mark.parametrize("name", ["n64_d16", "n40_d64_rank_deficient"])
@pytest.mark.parametrize("kept", [True, False], ids=["features", "statistics"])
def test_forty_digit_values_are_met_to_1e_9(name, kept):
    tensors, notes = _golden(f"frechet_{name}")
    sides = [tensors["in/features_a"], tensors["in/features_b"]]
    if kept:
        fitted = [frechet.gaussian_of(x) for x in sides]
    else:
        fitted = [frechet.gaussian(frechet.statistics(x)) for x in sides]
    found, wanted = frechet.terms(*fitted), notes["values"]
    assert found.distance == pytest.approx(wanted["frechet"], rel=1e-9)
    assert found.mean == pytest.approx(wanted["mean_term"], rel=1e-9)
    assert found.trace_a == pytest.approx(wanted["trace_a"], rel=1e-9)
    assert found.trace_b == pytest.approx(wanted["trace_b"], rel=1e-9)
    assert found.trace_sqrt == pytest.approx(wanted["trace_sqrt"], rel=1e-9)


def test_gaussians_with_common_axes_match_the_closed_formula():
    tensors, _ = _golden("frechet_gaussian_analytic")
    n = 100
    a, b = (
        frechet.Statistics(n, tensors[f"in/mu_{s}"].astype(float), m2 * (n - 1))
        for s in "ab"
        for m2 in [tensors[f"in/cov_{s}"].astype(float)]
    )
    wanted = float(tensors["out/frechet"][0])
    assert frechet.frechet_distance(a, b) == pytest.approx(wanted, rel=1e-5)


def test_one_dimension_is_the_difference_of_means_and_deviations():
    a, b = _draw(0, 50, width=1), _draw(1, 70, width=1, scale=3.0, shift=2.0)
    wanted = (a.mean(dtype=float) - b.mean(dtype=float)) ** 2 + (
        a.std(ddof=1, dtype=float) - b.std(ddof=1, dtype=float)
    ) ** 2
    assert frechet.frechet_distance_of(a, b) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("n", [5, 40], ids=["rank-deficient", "full-rank"])
def test_distance_is_symmetric_and_zero_on_itself(n):
    a, b = _draw(0, n), _draw(1, n, shift=1.0)
    forth, back = frechet.frechet_distance_of(a, b), frechet.frechet_distance_of(b, a)
    assert forth == pytest.approx(back, rel=1e-12)
    assert forth > 1
    assert frechet.frechet_distance_of(a, a) < 1e-9 * forth


def test_constant_sets_leave_only_the_means():
    a, b = np.zeros((4, 3)), np.full((4, 3), 2.0)
    assert frechet.frechet_distance_of(a, b) == 12.0


def test_merging_in_any_order_equals_one_pass():
    # An offset far from zero is where summed squares would lose their digits.
    x = _draw(0, 100, shift=1000.0)
    parts = [frechet.statistics(part) for part in np.split(x, [1, 7, 50, 99])]
    whole = frechet.statistics(x)
    for order in ([0, 1, 2, 3, 4], [4, 2, 0, 3, 1]):
        merged = functools.reduce(frechet.merge, [parts[i] for i in order])
        assert merged.n == whole.n
        np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-12)
        np.testing.assert_allclose(
            merged.m2, whole.m2, rtol=0, atol=1e-9 * abs(whole.m2).max()
        )


def test_ddof_zero_divides_by_n():
    a, b = _draw(0, 30), _draw(1, 30)
    unbiased = frechet.terms(frechet.gaussian_of(a), frechet.gaussian_of(b))
    biased = frechet.terms(frechet.gaussian_of(a, 0), frechet.gaussian_of(b, 0))
    assert biased.trace_sqrt == pytest.approx(unbiased.trace_sqrt * 29 / 30)
    assert biased.mean == unbiased.mean


def test_wrong_input_is_one_sentence():
    with pytest.raises(ValueError, match="at least 2 samples, found 1"):
        frechet.frechet_distance_of(_draw(0, 1), _draw(1, 9))
    with pytest.raises(ValueError, match="width 12 and 5"):
        frechet.terms(*map(frechet.gaussian_of, (_draw(0, 9), _draw(1, 9, width=5))))
    with pytest.raises(ValueError, match="NaN or infinity"):
        frechet.statistics(np.array([[0.0, np.nan]]))
