"""Fréchet video distance: what the evaluate program does, as a library.

    from dit_jax.evaluation.fvd import fvd
    result = fvd(real, fake)          # uint8 [N, F, H, W, 3], or two `VideoSet`s
    print(result.summary(), result.scores.fvd)

Unterthiner et al. 2018, arXiv:1812.01717. Keep one `Extractor` for several calls: it
remembers the features of every clip.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, UInt8

from dit_jax.evaluation import frechet, uncertainty
from dit_jax.evaluation.features import Extractor, FeatureSet
from dit_jax.evaluation.guards import require_comparable, warnings
from dit_jax.evaluation.kernel_distance import kernel_distance
from dit_jax.evaluation.protocol import FORMAT_VERSION, Protocol, Side, versions
from dit_jax.evaluation.videos import VideoSet

Videos = UInt8[np.ndarray, "_N _F _H _W 3"] | VideoSet
Progress = Callable[[str, int, int], None]
"""Called with the side ("real", "fake"), clips done and clips in all."""


@dataclasses.dataclass(frozen=True)
class Scores:
    """Numbers from two sets of features; fvd_inf is None below 1604 clips a side.

    fvd = mean_term + covariance_term; kvd is unbiased and may be negative.
    """

    fvd: float
    standard_error: float
    fvd_inf: float | None
    kvd: float
    mean_term: float
    covariance_term: float


@dataclasses.dataclass(frozen=True)
class Result:
    """Scores, the protocol they hold under, and sentences to read beside them."""

    scores: Scores
    protocol: Protocol
    warnings: tuple[str, ...]

    def summary(self) -> str:
        """One line such as `fvd@64 = 403.1 ± 12.0, kvd 8.21`."""
        scores = self.scores
        text = (
            f"{self.protocol.metric} = {scores.fvd:.4f} ± {scores.standard_error:.3g}, "
            f"kvd {scores.kvd:.4g}"
        )
        return text + (
            f", fvd_inf {scores.fvd_inf:.2f}" if scores.fvd_inf is not None else ""
        )

    def to_dict(self) -> dict[str, Any]:
        """What is stored as JSON; a number that does not exist is null."""
        numbers = {
            key: value if value is not None and np.isfinite(value) else None
            for key, value in dataclasses.asdict(self.scores).items()
        }
        return {
            "format_version": FORMAT_VERSION,
            "metric": self.protocol.metric,
            "value": numbers["fvd"],
            "scores": numbers,
            "protocol": self.protocol.to_dict(),
            "warnings": list(self.warnings),
            "versions": versions(),
        }


def fvd(
    real: Videos,
    fake: Videos,
    *,
    extractor: Extractor | None = None,
    fps: float | None = None,
    ddof: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
) -> Result:
    """FVD of `fake` from `real` with its standard error and protocol.

    Clips are uint8 with at least 9 frames, the same frames, height and width on both
    sides; arrays may be given with their `fps`. `seed` draws the subsets of the
    uncertainties. UserError when the sides cannot be compared or the I3D weights are
    not there: no other features are ever called FVD.
    """
    sets = {"real": _as_set(real, "real", fps), "fake": _as_set(fake, "fake", fps)}
    require_comparable(sets["real"], sets["fake"])
    extractor = extractor or Extractor()
    found = {}
    for side, videos in sets.items():
        report = _reporter(progress, side, len(videos))
        found[side] = extractor.feature_set(videos, report)
    protocol = Protocol(
        real=_side(sets["real"], found["real"]),
        fake=_side(sets["fake"], found["fake"]),
        weights_sha256=extractor.weights_sha256,
        ddof=ddof,
        form=extractor.form,
        backend=jax.default_backend(),
        seed=seed,
        clip_rule=f"first {found['real'].shape[0]} frames of each video",
    )
    scores = fvd_from_features(
        found["real"].values, found["fake"].values, ddof=ddof, seed=seed
    )
    return Result(scores, protocol, tuple(warnings(protocol, found)))


def fvd_from_features(
    real: Float[np.ndarray, "N D"],
    fake: Float[np.ndarray, "M D"],
    *,
    ddof: int = 1,
    seed: int = 0,
) -> Scores:
    """The scores of two sets of I3D logits. ValueError for fewer than 2 rows."""
    terms = frechet.terms(
        frechet.gaussian_of(real, ddof), frechet.gaussian_of(fake, ddof)
    )
    extrapolated = None
    if uncertainty.can_extrapolate(real, fake):
        extrapolated = uncertainty.extrapolated_distance(
            real, fake, ddof=ddof, seed=seed
        )
    return Scores(
        fvd=terms.distance,
        standard_error=uncertainty.half_sampling_error(
            real, fake, ddof=ddof, seed=seed
        ),
        fvd_inf=extrapolated,
        kvd=kernel_distance(real, fake),
        mean_term=terms.mean,
        covariance_term=terms.distance - terms.mean,
    )


def _as_set(videos: Videos, name: str, fps: float | None) -> VideoSet:
    if isinstance(videos, VideoSet):
        return videos
    return VideoSet(
        source=f"{name} array",
        container="array",
        is_lossy=False,
        fps=fps,
        names=tuple(f"clip {i}" for i in range(len(videos))),
        read=lambda i: videos[i],
        available=len(videos),
    )


def _side(videos: VideoSet, features: FeatureSet) -> Side:
    frames, height, width, _ = features.shape
    return Side(
        source=videos.source,
        container=videos.container,
        is_lossy=videos.is_lossy,
        num_clips=len(videos),
        num_available=videos.available,
        num_distinct=features.num_distinct,
        num_frozen=features.num_frozen,
        frames=frames,
        height=height,
        width=width,
        fps=videos.fps,
        selection="all" if videos.seed is None else "random without replacement",
        selection_seed=videos.seed,
        clips_sha256=features.sha256,
    )


def _reporter(
    progress: Progress | None, side: str, total: int
) -> Callable[[int], None] | None:
    if progress is None:
        return None
    return lambda done: progress(side, done, total)
