"""From clips to I3D features, each clip computed once in a process."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from dit_jax.evaluation import i3d
from dit_jax.evaluation.protocol import clips_sha256
from dit_jax.weights.i3d_kinetics400 import I3DWeights
from dit_jax.weights.i3d_kinetics400 import load as load_weights

Clip = UInt8[np.ndarray, "F H W 3"]
Progress = Callable[[int], None]
"""Called with the number of clips done so far."""


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureSet:
    """Features of a set of clips, one row a clip, and what the clips were."""

    values: Float[np.ndarray, "N 400"]
    digests: tuple[str, ...]
    num_frozen: int
    shape: tuple[int, ...]

    @property
    def num_distinct(self) -> int:
        return len(set(self.digests))

    @property
    def sha256(self) -> str:
        return clips_sha256(self.digests)


class Extractor:
    """I3D with verified weights. Holds the features of every clip it has seen, by the
    hash of its contents (1.6 kB a clip), so a set is never computed twice."""

    def __init__(
        self,
        weights: I3DWeights | None = None,
        *,
        batch_size: int = 4,
        form: i3d.Form | None = None,
    ):
        weights = weights or load_weights()
        self.weights_sha256 = weights.sha256
        self.batch_size = batch_size
        self.form: i3d.Form = form or i3d.default_form()
        self._params = jax.tree.map(
            jnp.asarray, i3d.fold_batch_norms(weights.variables)
        )
        # Apart, so that I3D compiles once for all sizes of frames.
        self._preprocess = jax.jit(i3d.preprocess)
        self._logits = jax.jit(i3d.logits, static_argnames="form")
        self._known: dict[str, np.ndarray] = {}

    def logits(
        self, inputs: Float[np.ndarray | Array, "B T 224 224 3"]
    ) -> Float[np.ndarray, "B 400"]:
        """Features of clips that are already float32 of 224x224."""
        return np.asarray(self._logits(self._params, inputs, form=self.form))

    def features(
        self, clips: Iterable[Clip], progress: Progress | None = None
    ) -> Float[np.ndarray, "N 400"]:
        """float32 features of uint8 clips: an array [N, F, H, W, 3] or any iterable."""
        return self.feature_set(clips, progress).values

    def feature_set(
        self, clips: Iterable[Clip], progress: Progress | None = None
    ) -> FeatureSet:
        """Features with the clips' hashes. The last batch is padded, never dropped.

        ValueError for fewer than 9 frames, another dtype, or no clip at all.
        """
        digests: list[str] = []
        pending: dict[str, Clip] = {}
        num_frozen, shape = 0, None
        for clip in clips:
            require_clip(clip, shape)
            shape = clip.shape
            digests.append(clip_digest(clip))
            num_frozen += bool((clip == clip[:1]).all())
            if digests[-1] not in self._known:
                pending[digests[-1]] = clip
            if len(pending) == self.batch_size:
                self._compute(pending)
                pending = {}
            if progress:
                progress(len(digests))
        if shape is None:
            raise ValueError("a set of no clips has no features; give at least one")
        self._compute(pending)
        values = np.stack([self._known[digest] for digest in digests])
        return FeatureSet(values, tuple(digests), num_frozen, shape)

    def _compute(self, clips: Mapping[str, Clip]) -> None:
        if not clips:
            return
        batch = list(clips.values())
        batch += [np.zeros_like(batch[0])] * (self.batch_size - len(batch))
        rows = self.logits(self._preprocess(np.stack(batch)))
        self._known.update(zip(clips, rows, strict=False))  # the padding falls off


def clip_digest(clip: Clip) -> str:
    """The hash of a clip's shape and pixels."""
    digest = hashlib.sha256(str(clip.shape).encode())
    digest.update(np.ascontiguousarray(clip).data)
    return digest.hexdigest()


def require_clip(clip: np.ndarray, shape: tuple[int, ...] | None = None) -> None:
    """ValueError unless I3D can see it and it has the `shape` of its set."""
    if clip.dtype != np.uint8 or clip.ndim != 4 or clip.shape[-1] != 3:
        raise ValueError(
            f"a clip is {clip.dtype} {clip.shape}; wanted uint8 [F, H, W, 3]"
        )
    if shape not in (None, clip.shape):
        raise ValueError(
            f"clips of shapes {shape} and {clip.shape} are in one set; bring them to "
            "one size"
        )
    if len(clip) < i3d.MIN_FRAMES:
        raise ValueError(
            f"a clip has {len(clip)} frames but I3D needs {i3d.MIN_FRAMES}; give "
            "longer clips"
        )
