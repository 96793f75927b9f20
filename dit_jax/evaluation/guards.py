"""What a comparison refuses, and what it warns about, one sentence each."""

from collections.abc import Mapping

from dit_jax.errors import UserError
from dit_jax.evaluation import i3d
from dit_jax.evaluation.features import FeatureSet
from dit_jax.evaluation.protocol import Protocol
from dit_jax.evaluation.videos import VideoSet

MIN_FULL_RANK = 401


def require_comparable(real: VideoSet, fake: VideoSet) -> None:
    """UserError when the sides differ in what moves FVD most: size, length, rate."""
    for videos in (real, fake):
        if len(videos) < 2:
            raise UserError(
                f"{videos.source} has {len(videos)} clips; a distance needs at least 2 "
                "a side, and means little below a few hundred"
            )
    if None not in (real.fps, fake.fps) and real.fps != fake.fps:
        raise UserError(
            f"{real.source} runs at {real.fps:g} fps but {fake.source} at "
            f"{fake.fps:g}; bring both to one rate, the distance would measure speed"
        )
    a, b = real.read(0).shape, fake.read(0).shape
    if a != b:
        raise UserError(
            f"the clips of {real.source} are {_size(a)} but those of {fake.source} "
            f"{_size(b)}; crop, resize or use --num_frames to make them equal"
        )
    if a[0] < i3d.MIN_FRAMES:
        raise UserError(
            f"clips have {a[0]} frames but I3D needs {i3d.MIN_FRAMES}; use longer clips"
        )


def warnings(protocol: Protocol, found: Mapping[str, FeatureSet]) -> list[str]:
    """Sentences to read beside the number; `found` has keys real and fake."""
    texts = []
    fewest = min(protocol.real.num_clips, protocol.fake.num_clips)
    if fewest < MIN_FULL_RANK:
        texts.append(
            f"{fewest} clips give a rank-deficient covariance of 400 features (wanted "
            f"{MIN_FULL_RANK}): compare only at equal N, and read kvd beside it"
        )
    sides = {"real": protocol.real, "fake": protocol.fake}
    for name, side in sides.items():
        if side.num_distinct < side.num_clips:
            texts.append(
                f"only {side.num_distinct} of {side.num_clips} {name} clips are "
                "distinct: repeats are not new samples"
            )
        if side.num_frozen:
            texts.append(f"{side.num_frozen} {name} clips do not move at all")
        if side.height != side.width:
            texts.append(
                f"{name} frames of {side.height}x{side.width} are squashed to a square"
            )
        if side.fps is None:
            texts.append(f"the frame rate of the {name} clips is unknown")
    if protocol.real.is_lossy != protocol.fake.is_lossy:
        texts.append(
            "one side only comes from a lossy container: part of the distance is the "
            "codec's"
        )
    shared = set(found["real"].digests) & set(found["fake"].digests)
    if shared:
        texts.append(f"{len(shared)} clips are in both sets")
    return texts


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[0]} frames of {shape[1]}x{shape[2]}"
