"""A discrete process of which only some steps are walked.

The denoiser was trained on all T steps and hears the time of the whole process.
Nichol and Dhariwal 2021, arXiv:2102.09672, section 4; the rules are those of DiT.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from dit_jax.diffusion.points import Grid, Points, of_process
from dit_jax.diffusion.processes import Discrete
from dit_jax.diffusion.streams import Streams, Times
from dit_jax.errors import UserError
from dit_jax.types import Conditioning, DenoiseFn

Kept = Int[np.ndarray, " N"]


def kept_steps(total: int, spacing: str | Sequence[int]) -> Kept:
    """The steps of `total` that a spacing keeps, rising.

    "250": evenly spaced, both ends included. "10,15,20", or the numbers: as many of
    each of three equal sections. "ddim50": every k-th from the first on, for the k that
    keeps exactly 50 (Song et al. 2020, arXiv:2010.02502, section 5). "": all.
    """
    if isinstance(spacing, str) and spacing.startswith("ddim"):
        kept = _strided(total, _number(spacing.removeprefix("ddim"), spacing))
    elif isinstance(spacing, str):
        parts = spacing.split(",") if spacing else [str(total)]
        kept = _sectioned(total, [_number(part, spacing) for part in parts])
    else:
        kept = _sectioned(total, spacing)
    if len(kept) < 2:
        raise UserError(
            f"the spacing {spacing!r} keeps {len(kept)} of {total} steps; keep two or "
            "more"
        )
    return kept


def _number(text: str, spacing: str) -> int:
    if not text.strip().isdecimal():
        raise UserError(
            f"the spacing is {spacing!r}; write how many steps to keep, such as 250, "
            "how many of each section, such as 10,15,20, or ddim50"
        )
    return int(text)


def _strided(total: int, count: int) -> Kept:
    for stride in range(1, total):
        kept = np.arange(0, total, stride)
        if len(kept) == count:
            return kept
    raise UserError(
        f"no whole stride keeps exactly {count} of {total} steps; choose another "
        f"count, or {count} without ddim"
    )


def _sectioned(total: int, counts: Sequence[int]) -> Kept:
    sections = np.array_split(np.arange(total), len(counts))  # longer ones first
    kept = []
    for section, count in zip(sections, counts, strict=True):
        if not 0 <= count <= len(section):
            raise UserError(
                f"{count} steps are to be kept of a section of {len(section)}; keep 0 "
                f"to {len(section)}, or make fewer sections"
            )
        stride = (len(section) - 1) / (count - 1) if count > 1 else 1.0
        # summed up as the reference does: halves are rounded by their last bit
        places = np.cumsum([0.0, *[stride] * (count - 1)])[:count]
        kept.append(section[places.round().astype(int)])
    return np.concatenate(kept)


@dataclasses.dataclass(frozen=True, eq=False)
class Respaced:
    """The steps `kept` of `whole`, rising."""

    whole: Discrete
    kept: Kept

    @property
    def process(self) -> Discrete:
        """The kept steps as a process of their own, which counts them anew."""
        return Discrete(self.whole.powers[self.kept])

    def grid(self) -> Grid:
        """Down the kept steps and to clean data, with times of the whole."""
        return Grid.to_data(self._points(self.kept[::-1]))

    def encoding_grid(self) -> Grid:
        """Up the kept steps and to noise alone: clean data is taken for the first."""
        return Grid.to_noise(self._points(self.kept))

    def _points(self, steps: Kept) -> Points:
        return of_process(self.whole, steps / (self.whole.num_steps - 1))

    def heard(self, t: Float[Array, "*dims"]) -> Float[Array, "*dims"]:
        """The time of the whole at a time of `process`."""
        places = jnp.linspace(0, 1, len(self.kept))
        return jnp.interp(t, places, self.kept / (self.whole.num_steps - 1))

    def hears(self, denoise_fn: DenoiseFn) -> DenoiseFn:
        """A denoiser of `whole` as one of `process`."""

        def denoise(xt: Streams, t: Times, conditioning: Conditioning) -> Streams:
            return denoise_fn(xt, jax.tree.map(self.heard, t), conditioning)

        return denoise
