"""The Fréchet distance between two Gaussians fitted to features, in float64.

    FD = |mu_a - mu_b|^2 + tr S_a + tr S_b - 2 tr sqrt(S_a S_b)

With S = L L^T, tr sqrt(S_a S_b) is the nuclear norm (the sum of the singular values) of
L_a^T L_b: symmetric, real and accurate to 1e-12 for singular covariances too, where a
matrix square root loses half of its digits.

Statistics are (n, mean, M2) and merge by Chan, Golub & LeVeque 1983, so features can be
streamed, in any order and from any number of hosts.
"""

import dataclasses

import numpy as np
from jaxtyping import Float


@dataclasses.dataclass(frozen=True, eq=False)
class Statistics:
    """Count, mean and summed outer products of deviations, float64."""

    n: int
    mean: Float[np.ndarray, " D"]
    m2: Float[np.ndarray, "D D"]

    def covariance(self, ddof: int = 1) -> Float[np.ndarray, "D D"]:
        """M2 / (n - ddof): ddof 1 is unbiased, 0 is what StyleGAN-V divides by."""
        _require_samples(self.n, ddof)
        return self.m2 / (self.n - ddof)


@dataclasses.dataclass(frozen=True, eq=False)
class Gaussian:
    """A mean and a factor L of the covariance L L^T, float64."""

    mean: Float[np.ndarray, " D"]
    factor: Float[np.ndarray, "D R"]


@dataclasses.dataclass(frozen=True)
class Terms:
    """The parts of a distance; `trace_sqrt` is tr sqrt(S_a S_b)."""

    mean: float
    trace_a: float
    trace_b: float
    trace_sqrt: float

    @property
    def distance(self) -> float:
        # Rounding may leave -1e-13 where the two sides are equal.
        return max(self.mean + self.trace_a + self.trace_b - 2 * self.trace_sqrt, 0.0)


def statistics(features: Float[np.ndarray, "N D"]) -> Statistics:
    """Of one batch; ValueError when it is empty or not finite."""
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or not len(features):
        raise ValueError(f"features have shape {features.shape}; wanted [N, D], N > 0")
    if not np.isfinite(features).all():
        raise ValueError("features hold NaN or infinity; check the videos' values")
    mean = features.mean(axis=0)
    centred = features - mean
    return Statistics(len(features), mean, centred.T @ centred)


def merge(a: Statistics, b: Statistics) -> Statistics:
    """The statistics of both sets together."""
    _require_same_width(a.mean, b.mean)
    n = a.n + b.n
    delta = b.mean - a.mean
    return Statistics(
        n,
        a.mean + delta * (b.n / n),
        a.m2 + b.m2 + np.outer(delta, delta) * (a.n * b.n / n),
    )


def gaussian(stats: Statistics, ddof: int = 1) -> Gaussian:
    """By the eigenvectors of the covariance; negative rounding is cut to zero."""
    values, vectors = np.linalg.eigh(stats.covariance(ddof))
    return Gaussian(stats.mean, vectors * np.sqrt(np.maximum(values, 0)))


def gaussian_of(features: Float[np.ndarray, "N D"], ddof: int = 1) -> Gaussian:
    """The same from features kept in memory; cheap for fewer samples than dims."""
    n, width = features.shape
    if n > width:
        return gaussian(statistics(features), ddof)
    _require_samples(n, ddof)
    features = np.asarray(features, np.float64)
    mean = features.mean(axis=0)
    return Gaussian(mean, (features - mean).T / np.sqrt(n - ddof))


def terms(a: Gaussian, b: Gaussian) -> Terms:
    _require_same_width(a.mean, b.mean)
    delta = a.mean - b.mean
    return Terms(
        mean=float(delta @ delta),
        trace_a=float((a.factor**2).sum()),
        trace_b=float((b.factor**2).sum()),
        trace_sqrt=float(np.linalg.svdvals(a.factor.T @ b.factor).sum()),
    )


def frechet_distance(a: Statistics, b: Statistics, ddof: int = 1) -> float:
    """Squared 2-Wasserstein distance of the two fitted Gaussians, >= 0."""
    return terms(gaussian(a, ddof), gaussian(b, ddof)).distance


def frechet_distance_of(
    a: Float[np.ndarray, "N D"], b: Float[np.ndarray, "M D"], ddof: int = 1
) -> float:
    """`frechet_distance` from features kept in memory."""
    return terms(gaussian_of(a, ddof), gaussian_of(b, ddof)).distance


def _require_samples(n: int, ddof: int) -> None:
    if n - ddof <= 0 or n < 2:
        raise ValueError(f"a covariance needs at least 2 samples, found {n}; add clips")


def _require_same_width(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape:
        raise ValueError(
            f"features of width {a.shape[0]} and {b.shape[0]} cannot be compared; use "
            "one extractor for both sets"
        )
