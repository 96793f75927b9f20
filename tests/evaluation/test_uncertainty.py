import numpy as np
import pytest

from dit_jax.evaluation import uncertainty
from dit_jax.evaluation.frechet import frechet_distance_of

WIDTH = 10
SCALES = np.sqrt(60 * np.arange(1, WIDTH + 1) ** -1.2)
SHIFT = 1.0
# Same axes, all deviations 15 % larger, every mean shifted.
TRUTH = WIDTH * SHIFT**2 + (0.15**2 * SCALES**2).sum()


def _pair(random, n):
    return (
        random.randn(n, WIDTH) * SCALES,
        random.randn(n, WIDTH) * SCALES * 1.15 + SHIFT,
    )


def test_extrapolation_removes_the_bias():
    random = np.random.RandomState(0)
    plain, extrapolated = [], []
    for seed in range(12):
        a, b = _pair(random, 100)
        plain.append(frechet_distance_of(a, b))
        extrapolated.append(uncertainty.extrapolated_distance(a, b, seed=seed))
    bias = np.mean(plain) / TRUTH - 1
    assert bias > 0.02
    assert abs(np.mean(extrapolated) / TRUTH - 1) < bias / 3


def test_half_sampling_matches_the_spread_over_fresh_draws():
    random = np.random.RandomState(1)
    pairs = [_pair(random, 400) for _ in range(80)]
    spread = np.std([frechet_distance_of(a, b) for a, b in pairs], ddof=1)
    claimed = np.mean([uncertainty.half_sampling_error(a, b) for a, b in pairs[:20]])
    assert claimed == pytest.approx(spread, rel=0.25)


def test_too_few_samples_are_not_extrapolated():
    a, b = _pair(np.random.RandomState(2), 4 * WIDTH)
    assert not uncertainty.can_extrapolate(a, b)
    with pytest.raises(ValueError, match="40 samples are too few .* at least 44"):
        uncertainty.extrapolated_distance(a, b)


def test_the_error_of_a_handful_is_unknown():
    a, b = _pair(np.random.RandomState(3), 3)
    assert np.isnan(uncertainty.half_sampling_error(a, b))
