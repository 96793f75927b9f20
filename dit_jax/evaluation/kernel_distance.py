"""Kernel video distance: the squared maximum mean discrepancy of features.

Polynomial kernel (x.y / D + 1)^3 and the unbiased U-statistic (Binkowski et al. 2018,
arXiv:1801.01401, eq. 4). Unbiased at any N, so it may be negative.
"""

import numpy as np
from jaxtyping import Float

BLOCK = 1024


def kernel_distance(a: Float[np.ndarray, "N D"], b: Float[np.ndarray, "M D"]) -> float:
    """Over all pairs, float64; ValueError below 2 samples a side."""
    if min(len(a), len(b)) < 2:
        raise ValueError(
            f"found {len(a)} and {len(b)} samples; a kernel distance needs 2 a side"
        )
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    within = sum(
        (_kernel_sum(x, x) - _kernel(x * x).sum()) / (len(x) * (len(x) - 1))
        for x in (a, b)
    )
    return float(within - 2 * _kernel_sum(a, b) / (len(a) * len(b)))


def _kernel_sum(x: np.ndarray, y: np.ndarray) -> float:
    """The kernel summed over all pairs, in blocks of rows."""
    return sum(
        float(((x[i : i + BLOCK] @ y.T / x.shape[1] + 1) ** 3).sum())
        for i in range(0, len(x), BLOCK)
    )


def _kernel(products: np.ndarray) -> np.ndarray:
    """Of every row with itself, from its squared entries."""
    return (products.sum(axis=1) / products.shape[1] + 1) ** 3
