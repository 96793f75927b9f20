"""Imports run one way, floor by floor, and some packages are not imported at all.

The law holds for imports inside functions and under TYPE_CHECKING too: a wish to import
upward means that the piece lives on the wrong floor.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "dit_jax"

# From the ground up. A module may import what stands on a lower line; members of one
# line do not import each other. Any other top-level file is a program.
FLOORS = (
    {"host_memory"},
    {""},  # the package, which every import of a module runs first
    {"errors", "types"},
    {"buckets"},
    {"rng", "files", "codec_spec"},
    {"config", "checkpoints"},
    {"models", "diffusion", "codecs", "text", "data", "parallel"},
    {"weights"},
    {"inference"},
    {"training", "evaluation", "planning"},
    {"program"},
    {"progress"},
    {"the programs"},
    {"cli", "demo"},  # they run the other programs
)
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names}
OUTSIDE = {"launch", "configs", "tests", "benchmarks"}
HEAVY = {"torch", "scipy", "tensorflow"}
PICKLES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve"}


def room(module: str) -> str:
    """`dit_jax.models.blocks` -> `models`; the package itself is the empty string."""
    return module.partition(".")[2].partition(".")[0]


def imported(source: str, module: str, *, is_package: bool = False) -> Iterator[str]:
    """Full names of everything imported anywhere in `source`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".") + ([""] if is_package else [])
                base = ".".join([*parts[: -node.level], *filter(None, [base])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def violations(
    source: str, module: str, programs: set[str], *, is_package: bool = False
) -> list[str]:
    """What `source`, as the file of `module`, imports against the law."""
    floor_of = FLOOR_OF | {name: FLOOR_OF["the programs"] for name in programs}
    here = room(module)
    found = []
    for name in imported(source, module, is_package=is_package):
        top, there = name.partition(".")[0], room(name)
        if top == "dit_jax":
            is_wrong = (
                there != here
                and there in floor_of
                and floor_of[there] >= floor_of.get(here, -1)
            )
        else:
            is_wrong = top in OUTSIDE | HEAVY or (top in PICKLES and here != "weights")
        if is_wrong:
            found.append(name)
    return found


def module_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


FILES = sorted(PACKAGE.rglob("*.py"))
ROOMS = {room(module_of(file)) for file in FILES} - {""}
PROGRAMS = {name for name in ROOMS - set(FLOOR_OF) if (PACKAGE / f"{name}.py").exists()}


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_a_module_imports_only_from_lower_floors(file):
    is_package = file.name == "__init__.py"
    source = file.read_text(encoding="utf-8")
    assert not violations(source, module_of(file), PROGRAMS, is_package=is_package)


def test_every_room_has_a_floor():
    assert not ROOMS - PROGRAMS - set(FLOOR_OF)


def test_no_module_is_named_for_nothing_in_particular():
    assert not {file.stem for file in FILES} & {"util", "utils", "helpers", "misc"}


@pytest.mark.parametrize(
    "module, source",
    [
        ("dit_jax.models.blocks", "from dit_jax.training import step"),
        ("dit_jax.models.blocks", "def f():\n    import dit_jax.inference.run"),
        ("dit_jax.models.blocks", "if TYPE_CHECKING:\n    from dit_jax import train"),
        ("dit_jax.models.blocks", "from dit_jax import weights as w"),
        ("dit_jax.models.blocks", "from ..training import step"),
        ("dit_jax.models", "from ..training import step"),
        ("dit_jax.models.blocks", "from dit_jax.data import loader"),
        ("dit_jax.training.loop", "from dit_jax.evaluation import fvd"),
        ("dit_jax.errors", "from . import types"),
        ("dit_jax.files", "import dit_jax.config"),
        ("dit_jax.sample", "import dit_jax.train"),
        ("dit_jax.program", "from dit_jax.train import main"),
        ("dit_jax.train", "from launch import local"),
        ("dit_jax.data.loader", "import pickle"),
        ("dit_jax.data.loader", "from cloudpickle import loads"),
        ("dit_jax.evaluation.frechet", "from scipy.linalg import sqrtm"),
        ("dit_jax", "from dit_jax.models import presets"),
    ],
)
def test_the_checker_catches(module, source):
    is_package = module in ("dit_jax", "dit_jax.models")
    assert violations(source, module, {"train", "sample"}, is_package=is_package)


@pytest.mark.parametrize(
    "module, source",
    [
        ("dit_jax.models.blocks", "from dit_jax.errors import UserError"),
        ("dit_jax.models.blocks", "from . import attention"),
        ("dit_jax.models.blocks", "from dit_jax.models.attention import xla"),
        ("dit_jax.weights.arrays_only", "import pickle"),
        ("dit_jax.train", "from dit_jax import __version__, program"),
        ("dit_jax.demo", "import dit_jax.train"),
        ("dit_jax.data.loader", "import grain.python as grain\nimport dataclasses"),
    ],
)
def test_the_checker_allows(module, source):
    assert not violations(source, module, {"train", "sample"})
