"""What is trained: a batch becomes noisy examples, a denoiser becomes losses.

Training and validation share the one loss; they differ only in what is drawn.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from dit_jax import rng
from dit_jax.diffusion.times import TrainingTimes
from dit_jax.types import Batch, Conditioning, DenoiseFn, Leaf


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Draws:
    """Everything a loss needs; after this nothing is random."""

    x0: Float[Leaf, "*micro B T H W C"]
    conditioning: Conditioning
    t: Float[Leaf, "*micro B"]
    eps: Float[Leaf, "*micro B T H W C"]


@dataclasses.dataclass(frozen=True)
class Objective:
    """What is drawn, and the loss of it.

    criterion: `(denoise_fn, x0=, eps=, t=, conditioning=)` -> a loss an example.
    hears: leaves out of a conditioning what the network has no part for.
    label_dropout, text_dropout: shares of training examples that see the null class
    and no text, drawn per row and apart from each other.
    flip_sign: per-channel signs that flip a latent left-right, or None for no flips.
    given_frames: how many first latent frames are told, and not generated.
    """

    criterion: Callable[..., Float[Array, " B"]]
    times: TrainingTimes
    hears: Callable[[Conditioning], Conditioning]
    num_classes: int
    label_dropout: float
    text_dropout: float
    flip_sign: tuple[int, ...] | None = None
    given_frames: int = 0

    def train_draws(self, batch: Batch, seed: int, step: Int[Array, ""]) -> Draws:
        """Noise, times, dropped labels and texts, and flips of one step, by row."""
        rows = jnp.arange(batch.latents.shape[0])

        def coin(name: str, share: float) -> Bool[Array, " B"]:
            return rng.uniform_rows(rng.stream(seed, name, step), rows) < share

        x0, conditioning = batch.latents, self.hears(batch.conditioning)
        if self.flip_sign is not None:
            x0 = jnp.where(_rowwise(coin("flip", 0.5), x0), self._flip(x0), x0)
        if conditioning.label is not None:
            dropped = coin("label_dropout", self.label_dropout)
            label = jnp.where(dropped, self.num_classes, conditioning.label)
            conditioning = dataclasses.replace(conditioning, label=label)
        if conditioning.text_mask is not None:
            dropped = coin("text_dropout", self.text_dropout)
            mask = jnp.where(dropped[:, None], 0, conditioning.text_mask)
            conditioning = dataclasses.replace(conditioning, text_mask=mask)
        return self._draw(x0, conditioning, seed, "train", step, rows, len(rows))

    def fixed_draws(
        self, batch: Batch, seed: int, rows: Int[Array, " B"], num_rows: int
    ) -> Draws:
        """The same noise and times at every call: validation row i draws by its i.

        num_rows: validation examples in all, over which the times are spread.
        """
        x0, conditioning = batch.latents, self.hears(batch.conditioning)
        step = jnp.int32(0)
        return self._draw(x0, conditioning, seed, "validation", step, rows, num_rows)

    def _draw(self, x0, conditioning, seed, name, step, rows, num_rows) -> Draws:
        if self.given_frames:
            frames, x0 = jnp.split(x0, [self.given_frames], axis=1)
            conditioning = dataclasses.replace(conditioning, frames=frames)
        eps_key = rng.stream(seed, f"{name}/noise", step)
        times_key = rng.stream(seed, f"{name}/times", step)
        return Draws(
            x0=x0,
            conditioning=conditioning,
            t=self.times.draw(times_key, rows, num_rows),
            eps=rng.normal_rows(eps_key, rows, x0.shape[1:]),
        )

    def _flip(self, x0: Float[Array, "B T H W C"]) -> Float[Array, "B T H W C"]:
        assert self.flip_sign is not None
        signs = np.asarray(self.flip_sign, np.float32).reshape(1, 1, 1, 1, -1)
        return x0[:, :, :, ::-1] * signs

    def losses(self, denoise_fn: DenoiseFn, draws: Draws) -> Float[Array, " B"]:
        """The loss of each example, float32."""
        return self.criterion(
            denoise_fn,
            x0=draws.x0,
            eps=draws.eps,
            t=draws.t,
            conditioning=draws.conditioning,
        )


def _rowwise(choice: Bool[Array, " B"], like: Array) -> Array:
    return choice.reshape(-1, *(1,) * (like.ndim - 1))
