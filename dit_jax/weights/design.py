"""What a reference's constructor arguments come to here."""

import dataclasses
from typing import Any

from flax import nnx

from dit_jax.models import presets

LatentShape = tuple[int, int, int, int]


@dataclasses.dataclass(frozen=True)
class Design:
    """A preset's name, the values that differ from it, and sizes that are no value.

    null_label: whether the reference's table of labels has a row for no label.
    """

    preset: str
    overrides: dict[str, Any]
    latent_shape: LatentShape
    num_classes: int
    null_label: bool = True

    @property
    def values(self) -> dict[str, Any]:
        return presets.resolve(self.preset, self.overrides)

    def build(self, **overrides: Any) -> nnx.Module:
        """Allocates; wrap it in `nnx.eval_shape` for the shapes alone."""
        return presets.build(
            self.preset,
            latent_shape=self.latent_shape,
            num_classes=self.num_classes,
            rngs=nnx.Rngs(0),
            **self.overrides | overrides,
        )
