"""Videos of given labels and texts from a run, the same on any mesh."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, ArrayLike, Float, Int, UInt8, UInt32

from dit_jax import rng
from dit_jax.diffusion.guidance import (
    classifier_free,
    is_off,
    unconditional,
)
from dit_jax.diffusion.points import Grid, Points
from dit_jax.diffusion.samplers import (
    Steps,
    Way,
    make_estimate,
)
from dit_jax.diffusion.samplers.steps import Belief, Estimate
from dit_jax.diffusion.streams import Streams
from dit_jax.errors import UserError
from dit_jax.inference import caching
from dit_jax.inference.caching import Memory, Rule
from dit_jax.inference.method import Method
from dit_jax.inference.run_folder import Run
from dit_jax.parallel import sharding
from dit_jax.text import Text
from dit_jax.types import Conditioning

Watch = Callable[[int, int], None]
"""Hears on the host of every call which one it is, from 1, and of how many."""


class Draw:
    """Jitted sampling of a run: `draw(seed, rows, conditioning, guidance)`.

    Compiled once a shape: seeds, prompts, values of guidance and the numbers of a
    sampler's table are arguments. Guidance that is off is a program of its own, with
    half the work. Gives what `run.show` gives.

    rule: when the blocks are spared, see `caching`; `remembered` tells what came of it.
    watch: hears how far sampling is. how: what `Method.of` takes.
    """

    def __init__(
        self,
        run: Run,
        mesh: Mesh,
        *,
        rule: Rule | None = None,
        watch: Watch | None = None,
        **how: Any,
    ) -> None:
        self.method = Method.of(run.process, run.prediction, **how)
        if rule is not None and not isinstance(self.method.way, Steps):
            raise UserError(
                f"the sampler {how['sampler']} chooses its own steps, so that none can "
                "be spared; set sample.cache to none, or choose another sampler"
            )
        self.guide = partial(
            classifier_free,
            null_conditioning=unconditional(run.denoiser.num_classes),
            channels=self.method.channels,
            restraint=self.method.restraint,
        )
        self.run, self.placed = run, sharding.batch_sharding(mesh)
        self.rule, self.watch = rule, watch
        self.compiled = jax.jit(
            self._draw,
            static_argnames="is_guided",
            out_shardings=sharding.replicated(mesh),
        )

    def __call__(
        self, seed: int, rows: ArrayLike, conditioning: Conditioning, guidance: float
    ) -> Array:
        return self.remembered(seed, rows, conditioning, guidance)[0]

    def remembered(
        self, seed: int, rows: ArrayLike, conditioning: Conditioning, guidance: float
    ) -> tuple[Array, Memory | None]:
        """The same, and what the last call would hand on: None without a rule.

        UserError where the latents are not finite.
        """
        scale = self.method.schedule(guidance, self.method.grid)
        made, memory, is_finite = self.compiled(
            self.run.params,
            self.method.way,
            jnp.uint32(seed),
            rows,
            conditioning,
            jnp.float32(guidance),
            is_guided=not is_off(scale),
        )
        if not bool(is_finite):
            raise UserError(
                "sampling led to latents that are not finite: the steps are too long "
                "for this sampler, an adaptive one needs more max_steps or larger "
                "tolerances, or the weights hold no finite numbers"
            )
        return made, memory

    def _draw(
        self,
        params: Any,
        way: Way,
        seed: UInt32[Array, ""],
        rows: Int[Array, " B"],
        conditioning: Conditioning,
        guidance: Float[Array, ""],
        *,
        is_guided: bool,
    ) -> tuple[Array, Memory | None, Array]:
        run, given = self.run, conditioning.frames
        frames, *rest = run.latent_shape
        shape = (frames - (0 if given is None else given.shape[1]), *rest)

        def noise(name: str, number: Array | int) -> Array:
            key = rng.stream(seed, name, number)
            drawn = rng.normal_rows(key, rows, shape)
            return jax.lax.with_sharding_constraint(drawn, self.placed)

        def estimate(**options: Any) -> Estimate:
            denoise_fn = run.denoiser.bind(params, **options)
            if is_guided:
                scale = self.method.schedule(guidance, self.method.grid)
                denoise_fn = self.guide(denoise_fn, guidance=scale)
            estimate = make_estimate(
                denoise_fn, run.prediction, conditioning, self.method.bound
            )
            if self.watch is None:
                return estimate
            return watched(estimate, self.method.grid, self.watch)

        start, fresh = noise("sample", 0), partial(noise, "sample/fresh")
        if self.rule is None:
            latents, memory = way.run(estimate(), start, fresh), None
        else:
            assert isinstance(way, Steps)
            asked = caching.recollection(estimate, self.rule, start, way.calls)
            latents, memory = way.recollect(asked, start, fresh)
        if given is not None:
            latents = jnp.concatenate([given, latents], axis=1)
        return run.show(latents), memory, jnp.all(jnp.isfinite(latents))


def watched(estimate: Estimate, grid: Grid, watch: Watch) -> Estimate:
    """The same, and `watch` hears of the call of the grid nearest to where it asks."""

    def hear(t: ArrayLike) -> None:
        watch(1 + int(np.argmin(np.abs(grid.calls.t - np.asarray(t)))), len(grid))

    def asked(x: Streams, point: Points) -> Belief:
        jax.debug.callback(hear, point.t)
        return estimate(x, point)

    return asked


def generate(
    run: Run,
    mesh: Mesh,
    labels: Int[np.ndarray, " N"],
    *,
    text: Text | None = None,
    frames: Float[np.ndarray, "N K H W C"] | None = None,
    seed: int,
    guidance: float,
    batch_size: int,
    **how: Any,
) -> Iterator[UInt8[np.ndarray, "B F Hp Wp 3"] | Float[np.ndarray, "B T H W C"]]:
    """Batches of what `run.show` gives, uint8 videos where there is a codec.

    They are in the order of `labels` and of the rows of `text`.

    Video i draws its noise by i alone, so it does not depend on batch size or mesh; but
    a `caching.Threshold` decides for a batch as a whole.
    What the network has no part for is not told to it; without `text` a network that
    reads text sees none. frames: normalised clean latents that every clip begins with.
    how: the rest of what `Draw` takes.
    """
    sharding.check_batch(mesh, "sample.batch_size", batch_size)
    if labels.size and not 0 <= labels.min() <= labels.max() <= len(run.classes):
        raise UserError(
            f"labels run from {labels.min()} to {labels.max()}, but the run has "
            f"{len(run.classes)} classes, 0 to {len(run.classes) - 1} "
            f"({len(run.classes)} is no class); choose among them"
        )
    draw = Draw(run, mesh, **how)
    conditioning = told(run, labels, text, frames)
    for start in range(0, len(labels), batch_size):
        rows = np.arange(start, start + batch_size, dtype=np.int32)
        there = np.minimum(rows, len(labels) - 1)  # the last one fills the batch
        part = jax.tree.map(lambda leaf, there=there: leaf[there], conditioning)
        made = draw(seed, rows, part, guidance)
        yield np.asarray(made)[: len(labels) - start]


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
