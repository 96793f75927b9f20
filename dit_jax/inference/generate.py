"""Videos of given labels from a run, the same on any mesh."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, ArrayLike, Int, UInt8

from dit_jax import rng
from dit_jax.codecs.pixels import to_uint8
from dit_jax.diffusion.guidance import classifier_free, null_label
from dit_jax.diffusion.samplers import SAMPLERS, sample, time_grid
from dit_jax.errors import UserError, choose
from dit_jax.inference.run_folder import Run
from dit_jax.parallel import sharding
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
) -> Callable[[Any, ArrayLike, ArrayLike], UInt8[Array, "B F Hp Wp 3"]]:
    """Jitted `(params, rows, labels) -> uint8 videos`; compiled once a shape."""
    method = choose(SAMPLERS, sampler, "sample.sampler")
    grid = time_grid(steps, shift, t_max)
    placed = sharding.batch_sharding(mesh)

    @partial(jax.jit, out_shardings=sharding.replicated(mesh))
    def draw(params: Any, rows: Array, labels: Array) -> Array:
        key = rng.stream(seed, "sample", 0)
        noise = rng.normal_rows(key, rows, run.latent_shape)
        latents = sample(
            classifier_free(
                run.denoiser.bind(params),
                null_label(run.denoiser.num_classes),
                guidance,
            ),
            method,
            grid,
            jax.lax.with_sharding_constraint(noise, placed),
            process=run.process,
            prediction=run.prediction,
            conditioning=Conditioning(label=labels),
        )
        return to_uint8(run.codec.decode(run.codec.spec.denormalize(latents)))

    return draw


def generate(
    run: Run,
    mesh: Mesh,
    labels: Int[np.ndarray, " N"],
    *,
    seed: int,
    sampler: str,
    steps: int,
    guidance: float,
    shift: float,
    t_max: float,
    batch_size: int,
) -> Iterator[UInt8[np.ndarray, "B F Hp Wp 3"]]:
    """Batches of uint8 videos, in the order of `labels`.

    Video i draws its noise by i alone, so it does not depend on batch size or mesh.
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
    for start in range(0, len(labels), batch_size):
        wanted = labels[start : start + batch_size]
        rows = np.arange(start, start + batch_size, dtype=np.int32)
        padded = np.pad(wanted, (0, batch_size - len(wanted)), mode="edge")
        videos = draw(run.params, rows, padded.astype(np.int32))
        yield np.asarray(videos)[: len(wanted)]
