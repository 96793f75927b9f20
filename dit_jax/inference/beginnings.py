"""The first frames of clips of a run's own data, for models that go on from them."""

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from dit_jax import files
from dit_jax.data.reader import Reader
from dit_jax.data.records import LATENTS
from dit_jax.errors import UserError
from dit_jax.inference.run_folder import Run


@dataclasses.dataclass(frozen=True)
class Beginnings:
    """frames: normalised latents. labels: of the clips, 0 where data have none. records
    of `split`: where they come from."""

    frames: Float[np.ndarray, "N K H W C"]
    labels: Int[np.ndarray, " N"]
    records: list[int]
    split: str


def goes_on(run: Run) -> bool:
    """Whether the run's model is told first frames."""
    return "frames" in run.denoiser.reads


def read(run: Run, num: int, num_given: int | None) -> Beginnings:
    """`num` clips, evenly spread over the validation examples, or over all where there
    are none. num_given: latent frames of each; None is what the run was trained with.
    """
    path = run.config.data.path
    if path is None or not files.path(path).exists():
        raise UserError(
            f"the run goes on from given frames, which come from its dataset {path!r}, "
            "and that is not there; put it back, or pass frames to "
            "dit_jax.inference.generate"
        )
    split = "train"
    if "validation" in Reader(path, split).manifest.splits:
        split = "validation"
    reader = Reader(path, split)
    count = run.config.train.given_frames if num_given is None else num_given
    if not 0 < count < run.latent_shape[0]:
        raise UserError(
            f"--given_frames is {count}; give 1 to {run.latent_shape[0] - 1} latent "
            "frames, fewer than a clip has"
        )
    records = [i * len(reader) // num for i in range(num)]
    clips = reader.batch(records)
    latents = reader.manifest.codec.normalize(clips[LATENTS].astype(np.float32))
    return Beginnings(
        frames=np.asarray(latents[:, :count], np.float32),
        labels=clips.get("label", np.zeros(num, np.int32)),
        records=records,
        split=split,
    )
