import numpy as np
import pytest

from dit_jax.evaluation import kernel_distance as kd


def _kernel(x, y):
    return (x @ y / len(x) + 1) ** 3


def test_it_is_the_mean_over_distinct_pairs(monkeypatch):
    monkeypatch.setattr(kd, "BLOCK", 2)
    random = np.random.RandomState(0)
    a, b = random.randn(5, 3), random.randn(4, 3) + 1
    wanted = (
        np.mean([_kernel(x, y) for i, x in enumerate(a) for y in np.delete(a, i, 0)])
        + np.mean([_kernel(x, y) for i, x in enumerate(b) for y in np.delete(b, i, 0)])
        - 2 * np.mean([_kernel(x, y) for x in a for y in b])
    )
    assert kd.kernel_distance(a, b) == pytest.approx(wanted, rel=1e-12)


def test_it_is_unbiased_at_any_size():
    random = np.random.RandomState(1)
    draws = [kd.kernel_distance(*random.randn(2, 6, 4)) for _ in range(400)]
    assert abs(np.mean(draws)) < 3 * np.std(draws) / np.sqrt(len(draws))
    assert min(draws) < 0


def test_one_sample_is_refused():
    with pytest.raises(ValueError, match="found 1 and 4 samples"):
        kd.kernel_distance(np.ones((1, 3)), np.ones((4, 3)))
