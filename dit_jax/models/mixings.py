"""Which tokens see which, block by block: a table from a name to attention branches.

A mixing gives phases, blocks that take turns down the stack; a phase is a row of
attention branches by name, which the MLP follows. A branch has a pattern, and may stand
apart from the conditioning (`modulated` False).
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from dit_jax.models import patterns
from dit_jax.models.patterns import MultiResolution, Pattern, Windows


@dataclasses.dataclass(frozen=True)
class Attending:
    """One attention branch. followed: by one more linear map."""

    pattern: Pattern
    modulated: bool = True
    followed: bool = False


@dataclasses.dataclass(frozen=True)
class Mixing:
    """phases: of the model's values. takes_extra: tokens in front of the patches (text,
    in-context) can take part. time_at: the block before which a table of the frames is
    added, or None. repeats_modulation: of the reference, see `presets.cost`."""

    phases: Callable[[Mapping[str, Any]], list[dict[str, Attending]]]
    takes_extra: bool = False
    time_at: int | None = None
    repeats_modulation: bool = False


def _windows(values: Mapping[str, Any]) -> list[dict[str, Attending]]:
    size = tuple(values["window"])
    return [
        {"attention": Attending(Windows(size))},
        {"attention": Attending(patterns.joint)},
        {"attention": Attending(Windows(size, shifted=True))},
        {"attention": Attending(patterns.joint)},
    ]


SPATIAL = {"attention": Attending(patterns.SPATIAL)}
TEMPORAL = {"temporal": Attending(patterns.TEMPORAL)}
APART = {"temporal": Attending(patterns.TEMPORAL, modulated=False, followed=True)}

MIXINGS: dict[str, Mixing] = {
    "joint": Mixing(
        lambda values: [{"attention": Attending(patterns.joint)}], takes_extra=True
    ),
    "spatial": Mixing(lambda values: [SPATIAL]),
    "spatial_temporal": Mixing(lambda values: [SPATIAL | TEMPORAL]),
    "temporal_spatial": Mixing(lambda values: [TEMPORAL | SPATIAL]),
    # VDT: the temporal branch has a norm of its own and no modulation
    "vdt": Mixing(lambda values: [APART | SPATIAL]),
    "vdt_spatial_first": Mixing(lambda values: [SPATIAL | APART]),
    # Latte: spatial and temporal blocks in turn
    "interleaved": Mixing(
        lambda values: [SPATIAL, {"attention": Attending(patterns.TEMPORAL)}],
        time_at=1,
        repeats_modulation=True,
    ),
    "windows": Mixing(_windows),
    "multi_resolution": Mixing(
        lambda values: [{"attention": Attending(MultiResolution(values["levels"]))}]
    ),
}
