"""Guidance: wraps a `denoise_fn` and returns one. Notation: `diffusion.processes`.

    guided = uncond + guidance (cond - uncond)

so that 1.0 is off and 0.0 unconditional; U-ViT and UniDiffuser count from off, their s
is our guidance - 1, as is w in Ho and Salimans 2022 (arXiv:2207.12598, eq. 6). Any
prediction may be guided, since at one (xt, t) all of them are affine in each other.

All branches are one model call, and the rows of an example stay neighbours. They are
combined in float32, over the channels of xt or the first few of them; what else a
network puts out, such as a variance, is the conditional branch's.
"""

from dit_jax.diffusion.guidance.branches import (
    autoguidance,
    classifier_free,
    in_turn,
    one_by_one,
)
from dit_jax.diffusion.guidance.conditions import unconditional
from dit_jax.diffusion.guidance.restraints import RESTRAINTS, Restraint
from dit_jax.diffusion.guidance.scales import SCHEDULES, Scale, is_off, over_steps

__all__ = [
    "RESTRAINTS",
    "SCHEDULES",
    "Restraint",
    "Scale",
    "autoguidance",
    "classifier_free",
    "in_turn",
    "is_off",
    "one_by_one",
    "over_steps",
    "unconditional",
]
