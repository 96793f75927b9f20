"""What was measured and how: the record that makes a number a result.

The same checkpoint is reported two to seven times apart under different protocols, so
a distance is stored with everything that moves it and compared only with its like.
"""

import dataclasses
import hashlib
import importlib.metadata
import platform
from collections.abc import Sequence
from typing import Any

import dit_jax
from dit_jax.evaluation import i3d

FORMAT_VERSION = 1
PACKAGES = ("jax", "jaxlib", "numpy", "av")


@dataclasses.dataclass(frozen=True)
class Side:
    """One set of clips. `clips_sha256` is over the contents in their order."""

    source: str
    container: str
    is_lossy: bool
    num_clips: int
    num_available: int
    num_distinct: int
    num_frozen: int
    frames: int
    height: int
    width: int
    fps: float | None
    selection: str
    selection_seed: int | None
    clips_sha256: str


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How features were made and compared; the defaults are what the code does."""

    real: Side
    fake: Side
    weights_sha256: str
    ddof: int
    form: str
    backend: str
    seed: int
    clip_rule: str
    frame_stride: int = 1
    extractor: str = "tfhub-i3d-kinetics-400/1"
    layer: str = "logits before softmax, mean over time"
    batch_norm_eps: float = i3d.BATCH_NORM_EPS
    input_size: int = i3d.SIZE
    resize: str = "bilinear, half-pixel centres"
    resize_antialias: bool = False
    aspect: str = "whole frame, squashed to a square"
    rounding: str = "uint8 before the resize, none after it"
    value_range: str = "[-1, 1]"
    extractor_precision: str = "float32, highest"
    algorithm: str = "nuclear norm of covariance factors, float64"
    uncertainty: str = "20 half-samples without replacement"

    @property
    def metric(self) -> str:
        """The metric's name with its N, such as fvd@2048."""
        real, fake = self.real.num_clips, self.fake.num_clips
        return f"fvd@{real}" if real == fake else f"fvd@{real}-vs-{fake}"

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


MATERIAL = (
    "extractor",
    "weights_sha256",
    "layer",
    "batch_norm_eps",
    "input_size",
    "resize",
    "resize_antialias",
    "aspect",
    "rounding",
    "value_range",
    "extractor_precision",
    "algorithm",
    "ddof",
    "clip_rule",
    "frame_stride",
    "real.clips_sha256",
    "real.num_clips",
    "real.frames",
    "real.fps",
    "real.is_lossy",
    "fake.num_clips",
    "fake.fps",
    "fake.is_lossy",
)


def differences(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """The material fields in which two stored protocols differ, as `field: a, b`.

    Numbers are comparable when there is none. A field that is missing on a side
    counts as different.
    """
    pairs = [(field, _field(a, field), _field(b, field)) for field in MATERIAL]
    return [f"{field}: {x!r}, {y!r}" for field, x, y in pairs if x != y]


def clips_sha256(digests: Sequence[str]) -> str:
    """The hash of a list of clips from the hashes of their contents."""
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def versions() -> dict[str, str]:
    """Python and the installed packages that can move a number."""
    found = {"python": platform.python_version(), "dit_jax": dit_jax.__version__}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def _field(record: dict[str, Any], dotted: str) -> Any:
    value: Any = record
    for key in dotted.split("."):
        if not isinstance(value, dict) or key not in value:
            return "missing"
        value = value[key]
    return value
