"""Videos of given labels and texts from a run, the same on any mesh."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, ArrayLike, Float, Int, UInt8

from dit_jax import rng
from dit_jax.diffusion.guidance import classifier_free, unconditional
from dit_jax.diffusion.samplers import SAMPLERS, sample, time_grid
from dit_jax.errors import UserError, choose
from dit_jax.inference.run_folder import Run
from dit_jax.parallel import sharding
from dit_jax.text import Text
from dit_jax.types import Conditioning


def make_sampler(
    run: Run,
    mesh: Mesh,
    *,
    seed: int,
    sampler: str,
    steps: int,
    guidance: float,
    shift: float,
    t_max: float,
) -> Callable[[Any, ArrayLike, Conditioning], Array]:
    """Jitted `(params, rows, conditioning) -> run.show(latents)`, uint8 videos where
    there is a codec; compiled once a shape."""
    method = choose(SAMPLERS, sampler, "sample.sampler")
    grid = time_grid(steps, shift, t_max)
    placed = sharding.batch_sharding(mesh)

    @partial(jax.jit, out_shardings=sharding.replicated(mesh))
    def draw(params: Any, rows: Array, conditioning: Conditioning) -> Array:
        key = rng.stream(seed, "sample", 0)
        given = conditioning.frames
        frames, *rest = run.latent_shape
        frames -= 0 if given is None else given.shape[1]
        noise = rng.normal_rows(key, rows, (frames, *rest))

        def fresh_noise(step: Array) -> Array:
            key = rng.stream(seed, "sample/fresh", step)
            return rng.normal_rows(key, rows, (frames, *rest))

        latents = sample(
            classifier_free(
                run.denoiser.bind(params),
                unconditional(run.denoiser.num_classes),
                guidance,
            ),
            method,
            grid,
            jax.lax.with_sharding_constraint(noise, placed),
            process=run.process,
            prediction=run.prediction,
            conditioning=conditioning,
            fresh_noise=fresh_noise,
        )
        if given is not None:
            latents = jnp.concatenate([given, latents], axis=1)
        return run.show(latents)

    return draw


def generate(
    run: Run,
    mesh: Mesh,
    labels: Int[np.ndarray, " N"],
    *,
    text: Text | None = None,
    frames: Float[np.ndarray, "N K H W C"] | None = None,
    seed: int,
    sampler: str,
    steps: int,
    guidance: float,
    shift: float,
    t_max: float,
    batch_size: int,
) -> Iterator[UInt8[np.ndarray, "B F Hp Wp 3"] | Float[np.ndarray, "B T H W C"]]:
    """Batches of what `run.show` gives, uint8 videos where there is a codec.

    They are in the order of `labels` and of the rows of `text`.

    Video i draws its noise by i alone, so it does not depend on batch size or mesh.
    What the network has no part for is not told to it; without `text` a network that
    reads text sees none. frames: normalised clean latents that every clip begins with.
    """
    sharding.check_batch(mesh, "sample.batch_size", batch_size)
    if labels.size and not 0 <= labels.min() <= labels.max() <= len(run.classes):
        raise UserError(
            f"labels run from {labels.min()} to {labels.max()}, but the run has "
            f"{len(run.classes)} classes, 0 to {len(run.classes) - 1} "
            f"({len(run.classes)} is no class); choose among them"
        )
    draw = make_sampler(
        run,
        mesh,
        seed=seed,
        sampler=sampler,
        steps=steps,
        guidance=guidance,
        shift=shift,
        t_max=t_max,
    )
    conditioning = told(run, labels, text, frames)
    for start in range(0, len(labels), batch_size):
        rows = np.arange(start, start + batch_size, dtype=np.int32)
        there = np.minimum(rows, len(labels) - 1)  # the last one fills the batch
        part = jax.tree.map(lambda leaf, there=there: leaf[there], conditioning)
        yield np.asarray(draw(run.params, rows, part))[: len(labels) - start]


def told(
    run: Run,
    labels: Int[np.ndarray, " N"],
    text: Text | None = None,
    frames: Float[np.ndarray, "N K H W C"] | None = None,
) -> Conditioning:
    """What a run's denoiser hears of labels, texts and frames, a row a clip."""
    fields: dict[str, Any] = {"label": labels.astype(np.int32)}
    if text is not None:
        fields |= {"text": text.tokens, "text_mask": text.mask, "pooled": text.pooled}
    if frames is not None:
        _check_frames(run, frames)
        fields["frames"] = frames
    return run.denoiser.hears(Conditioning(**fields))


def _check_frames(run: Run, frames: Float[np.ndarray, "N K H W C"]) -> None:
    (length, *size), patch = run.latent_shape, run.config.model.patch[0]
    num_given = frames.shape[1]
    if "frames" not in run.denoiser.reads:
        raise UserError(
            "frames are given, but the run's model is not told any (model.frames is "
            "none); leave them out, or sample from a run with train.given_frames"
        )
    if not 0 < num_given < length or num_given % patch or [*frames.shape[2:]] != size:
        raise UserError(
            f"given frames are {frames.shape[1:]}, but the run has latents of "
            f"{run.latent_shape} in patches of {patch} frames; give whole patches, "
            "fewer frames than a clip has, of the same size"
        )
