"""What the branches that guidance starts from are told."""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp

from dit_jax.errors import UserError
from dit_jax.types import Conditioning

Change = Callable[[Conditioning], Conditioning]
"""A conditioning with something left out; all its arrays keep their shapes."""


def unconditional(num_classes: int) -> Change:
    """Replaces every label by the null class, `num_classes`, and every text by none (a
    mask of zeros); the rest, given frames among it, stays."""

    def drop(conditioning: Conditioning) -> Conditioning:
        label, mask = conditioning.label, conditioning.text_mask
        if label is None and mask is None:
            raise UserError(
                "guidance drops labels and texts but none are given; pass some (texts "
                "with their text_mask) or set guidance to 1.0"
            )
        return dataclasses.replace(
            conditioning,
            label=None if label is None else jnp.full_like(label, num_classes),
            text_mask=None if mask is None else jnp.zeros_like(mask),
        )

    return drop
