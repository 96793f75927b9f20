"""How far a Fréchet distance of N samples can be trusted.

It is biased upwards by about c / N, with c depending on the features, so numbers at
different N do not compare. Half-sampling without replacement gives the standard error
(the ordinary bootstrap doubles the bias), and a line in 1/n extrapolates to endless
samples (Chong & Forsyth 2020, arXiv:1911.07023).
"""

import numpy as np
from jaxtyping import Float

from dit_jax.evaluation.frechet import frechet_distance_of

NUM_SIZES = 8
Features = Float[np.ndarray, "_N D"]


def half_sampling_error(
    a: Features, b: Features, *, ddof: int = 1, draws: int = 20, seed: int = 0
) -> float:
    """Standard error of the distance: the spread over random halves of each side.

    At n = N/2 the correction sqrt(n / (N - n)) is one. NaN below 4 samples a side.
    """
    if min(len(a), len(b)) < 4:
        return float("nan")
    random = np.random.RandomState(seed)
    distances = [
        _subset_distance(a, b, 0.5, ddof=ddof, random=random) for _ in range(draws)
    ]
    return float(np.std(distances, ddof=1))


def can_extrapolate(a: Features, b: Features) -> bool:
    """Whether the smallest subsets still have covariances of full rank; below that
    the bias is not yet a line in 1/n."""
    return min(len(a), len(b)) // 4 > a.shape[1]


def extrapolated_distance(
    a: Features, b: Features, *, ddof: int = 1, draws: int = 3, seed: int = 0
) -> float:
    """The distance at 1/n -> 0 by weighted least squares over n in N/4 .. N.

    Weights are n, since the variance falls about as 1/n. ValueError when
    `can_extrapolate` says no.
    """
    if not can_extrapolate(a, b):
        raise ValueError(
            f"{min(len(a), len(b))} samples are too few to extrapolate features of "
            f"width {a.shape[1]}; wanted at least {4 * (a.shape[1] + 1)}"
        )
    random = np.random.RandomState(seed)
    shares = 1 / np.linspace(4, 1, NUM_SIZES)
    distances = [
        np.mean(
            [
                _subset_distance(a, b, share, ddof=ddof, random=random)
                for _ in range(draws if share < 1 else 1)
            ]
        )
        for share in shares
    ]
    design = np.stack([np.ones(NUM_SIZES), 1 / shares], axis=1)
    root = np.sqrt(shares)
    solution, *_ = np.linalg.lstsq(design * root[:, None], distances * root)
    return float(solution[0])


def _subset_distance(
    a: Features, b: Features, share: float, *, ddof: int, random: np.random.RandomState
) -> float:
    part_a, part_b = (
        x[random.permutation(len(x))[: round(len(x) * share)]] for x in (a, b)
    )
    return frechet_distance_of(part_a, part_b, ddof)
