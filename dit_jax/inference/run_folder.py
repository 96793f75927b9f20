"""What a finished or running training left behind, ready to be used."""

import dataclasses
from typing import Any

import jax
from jax.sharding import Mesh
from jaxtyping import Array, Float, UInt8

from dit_jax import codecs, config, files
from dit_jax.checkpoints import Checkpoints
from dit_jax.codecs.pixels import to_uint8
from dit_jax.diffusion import processes
from dit_jax.diffusion.processes import Process
from dit_jax.errors import DataError, choose
from dit_jax.inference.denoiser import Denoiser, build
from dit_jax.parallel import sharding
from dit_jax.parallel.constrain import OnMesh

CODEC_FOLDER = "codec"
WEIGHTS = ("ema", "params")


@dataclasses.dataclass(frozen=True)
class Run:
    """A trained denoiser with everything that turns its output into videos.

    codec: None for converted weights to which none was given.
    classes: those that the denoiser can be told. text_encoder: what encoded the text of
    its data; None where there was none.
    """

    config: config.ConfigDict
    denoiser: Denoiser
    params: Any
    codec: codecs.Codec | None
    process: Process
    prediction: str
    latent_shape: tuple[int, int, int, int]
    classes: list[dict[str, Any]]
    fps: float
    step: int
    weights: str
    text_encoder: dict[str, Any] | None = None

    def show(
        self, latents: Float[Array, "B T H W C"]
    ) -> UInt8[Array, "B F Hp Wp 3"] | Float[Array, "B T H W C"]:
        """uint8 videos; without a codec the latents as they are."""
        if self.codec is None:
            return latents
        return to_uint8(self.codec.decode(self.codec.spec.denormalize(latents)))


def load(
    workdir: files.PathLike,
    mesh: Mesh,
    *,
    step: int | None = None,
    weights: str = "ema",
) -> Run:
    """Reads one step of a run onto `mesh`; `weights` is ema or params."""
    choose(dict.fromkeys(WEIGHTS), weights, "--weights")
    snapshot = config.read_snapshot(workdir)
    settings, dataset = snapshot["config"], snapshot["dataset"]
    latent_shape = tuple(dataset["latent_shape"])
    denoiser = build(
        config.section(settings, "model"),
        latent_shape=latent_shape,
        num_classes=len(dataset["classes"]),
        constrain=OnMesh(mesh),
    )
    checkpoints = Checkpoints(workdir)
    step = checkpoints.choose(step)
    placed = sharding.param_shardings(
        denoiser.abstract_params, denoiser.logical_axes, mesh
    )
    abstract = jax.tree.map(
        lambda leaf, where: jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=where
        ),
        denoiser.abstract_params,
        placed,
    )
    return Run(
        config=settings,
        denoiser=denoiser,
        params=checkpoints.restore(step, weights, abstract),
        codec=_codec(workdir, dataset["codec"]),
        process=process_of(settings.diffusion),
        prediction=settings.diffusion.prediction,
        latent_shape=latent_shape,
        classes=dataset["classes"] if "label" in denoiser.reads else [],
        fps=dataset["fps"],
        step=step,
        weights=weights,
        text_encoder=dataset.get("text_encoder"),
    )


def process_of(diffusion: config.ConfigDict) -> Process:
    """The process of a `diffusion.*` section."""
    return processes.build(
        diffusion.process,
        zero_terminal_snr=diffusion.zero_terminal_snr,
        snr_shift=diffusion.snr_shift,
    )


def _codec(workdir: files.PathLike, spec: dict[str, Any] | None) -> codecs.Codec | None:
    """The codec of the folder; DataError where it is not that of the snapshot."""
    if spec is None:
        return None
    codec = codecs.load(files.path(workdir) / CODEC_FOLDER)
    if codec.spec.to_json() != codecs.CodecSpec.from_json(spec).to_json():
        raise DataError(
            f"{files.path(workdir) / CODEC_FOLDER} is not the codec that the run was "
            "trained with; copy it from the run's dataset"
        )
    return codec


def newest_step(workdir: files.PathLike) -> int:
    """The newest checkpoint of a run; UserError when there is none."""
    return Checkpoints(workdir).choose(None)
