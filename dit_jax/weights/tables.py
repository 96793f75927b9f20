"""The fixed position tables that other implementations store among their parameters.

Ours are computed for the grid at hand and are no parameters, so these are made anew for
a file, and a file's are compared with them: another table would be another model.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from dit_jax.errors import UserError
from dit_jax.models.patches import token_grid
from dit_jax.models.positions import sincos_2d, sincos_time
from dit_jax.weights.design import Design
from dit_jax.weights.mapping import Named

Table = Float[np.ndarray, "1 N D"]
# sines of their float64 angles and of ours may round to neighbours
TOLERANCE = 2e-6


def make(names: tuple[str, ...], design: Design) -> dict[str, Table]:
    """The tables of these names that the reference keeps for a model like `design`.

    A model that never mixes frames has no table of times.
    """
    mixes_frames = design.values["mixing"] != "spatial"
    found = {}
    for name in names:
        table, of_times = TABLES[name]
        if mixes_frames or not of_times:
            found[name] = table(design)[None]
    return found


def check(theirs: Named, tables: dict[str, Table]) -> None:
    """UserError where the file has a table that is not the one that we compute."""
    for name, table in tables.items():
        if name not in theirs:
            continue
        found = theirs[name]
        if found.shape != table.shape:
            raise UserError(
                f"the file's {name} is {found.shape}, wanted {table.shape} for latents "
                "of this size; give the weights of the sizes that were named"
            )
        off = np.abs(found.astype(np.float32) - table).max()
        rounding = 2 * 2.0**-8 if found.dtype.itemsize < 4 else TOLERANCE
        if not off <= rounding:
            raise UserError(
                f"the file's {name} is not the fixed table of sines that its system "
                f"has (largest difference {off:.2g}); such weights cannot be taken over"
            )


def _of_frame(design: Design) -> Float[np.ndarray, "N D"]:
    _, h, w = token_grid(design.latent_shape[:3], tuple(design.values["patch"]))
    return np.asarray(sincos_2d((1, h, w), design.values["width"]))


def _of_times(design: Design) -> Float[np.ndarray, "N D"]:
    frames = design.latent_shape[0]
    return np.asarray(sincos_time((frames, 1, 1), design.values["width"]))


# name -> (the table, whether it tells the time of a frame)
TABLES: dict[str, tuple[Callable[[Design], np.ndarray], bool]] = {
    "pos_embed": (_of_frame, False),
    "time_embed": (_of_times, True),
    "temp_embed": (_of_times, True),
}
