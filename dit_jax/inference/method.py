"""How to sample, by the names of `sample.*`: read and refused before any work."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from dit_jax.diffusion import options
from dit_jax.diffusion.grids import make_grid
from dit_jax.diffusion.guidance import RESTRAINTS, SCHEDULES, Restraint, Scale
from dit_jax.diffusion.points import Grid
from dit_jax.diffusion.processes import Process
from dit_jax.diffusion.samplers import CLIPS, Bound, Way, choose_sampler, planned
from dit_jax.errors import UserError

BESIDE = ("guidance", "batch_size", "cache")
"""Keys of `sample.*` that are no part of a method."""


def arguments_of(sample: Mapping[str, Any]) -> dict[str, Any]:
    """What `Method.of` takes of a `sample.*` section."""
    return {key: value for key, value in sample.items() if key not in BESIDE}


@dataclasses.dataclass(frozen=True)
class Method:
    """A grid, a sampler's way along it, and what is done to every prediction.

    schedule: `(scale, grid)` -> the scale of guidance over time. channels: the first
    ones that are guided, None for all.
    """

    grid: Grid
    way: Way
    bound: Bound | None
    schedule: Callable[..., Scale]
    restraint: Restraint
    channels: int | None

    @classmethod
    def of(
        cls,
        process: Process,
        prediction: str,
        *,
        sampler: str,
        grid: str,
        steps: int,
        shift: float,
        t_max: float | None,
        t_min: float | None,
        clip: str,
        guidance_schedule: str,
        guidance_restraint: str,
        guidance_channels: int | None,
    ) -> "Method":
        """Each a row of its table with its options; UserError for what cannot be."""

        def between(t_max: float, t_min: float) -> Grid:
            return make_grid(
                grid, process, steps, shift=shift, t_max=t_max, t_min=t_min
            )

        if guidance_channels is not None and guidance_channels < 1:
            raise UserError(
                f"sample.guidance_channels is {guidance_channels}; give 1 or more, or "
                "None for all"
            )
        chosen = choose_sampler(sampler, process)
        points, way = planned(chosen, prediction, between, t_max, t_min)
        schedule = options.read(
            SCHEDULES, guidance_schedule, "sample.guidance_schedule"
        )
        schedule(2.0, points)  # what its options cannot be is told now
        restrain = options.read(
            RESTRAINTS, guidance_restraint, "sample.guidance_restraint"
        )
        return cls(
            grid=points,
            way=way,
            bound=options.read(CLIPS, clip, "sample.clip")(),
            schedule=schedule,
            restraint=restrain(),
            channels=guidance_channels,
        )
