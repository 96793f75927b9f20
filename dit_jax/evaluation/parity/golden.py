"""The golden file format, and how far an output may be off.

A case is a safetensors file: `param/<name>` is the reference's state under its own
names, `in/<name>` what it was given, `out/<name>` what came out, `out/grad/<name>`
gradients. The metadata `meta` names the system, its constructor's arguments, and
`rounding`: how far the reference's float32 stands from its own float64.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import safetensors.numpy
from jaxtyping import Shaped
from safetensors import SafetensorError

from dit_jax import files
from dit_jax.errors import DataError, UserError

Arrays = Mapping[str, Shaped[np.ndarray, "..."]]
RTOL = 1e-5
ATOL = 2e-5
ROUNDINGS = 30  # as many times the reference's own rounding
GRADIENT_ATOL = 1e-4  # of the gradient's largest value
TRAJECTORIES = ("samples", "pred_xstart", "model_out")
ATOLS = {"prior_bpd": 1e-6}  # of outputs near 0
TABLE_ATOL = 1e-9  # of tables made from nothing, in float64
MEASURED_RTOL = 1e-3  # of the largest value: what moves more in float32 is no result
ADAPTIVE, ADAPTIVE_ATOL = ("dopri5",), 2e-3  # methods that choose their own steps


class Tracked(dict):
    """Arrays that remember which of them were asked for. group: what they are."""

    def __init__(self, arrays: Arrays, group: str = "in"):
        super().__init__(arrays)
        self.group = group
        self.used: set[str] = set()

    def __getitem__(self, name: str) -> np.ndarray:
        """DataError for an array that the case does not have."""
        if name not in self:
            raise DataError(f"the case has no {self.group}/{name}")
        self.used.add(name)
        return super().__getitem__(name)

    @property
    def unused(self) -> list[str]:
        return [f"{self.group}/{name}" for name in sorted(set(self) - self.used)]


@dataclasses.dataclass(frozen=True)
class Case:
    """One golden file in memory."""

    system: str
    config: dict[str, Any]
    rounding: dict[str, dict[str, float]]
    params: Tracked
    inputs: Tracked
    outputs: dict[str, np.ndarray]
    others: list[str]  # names of no group

    @property
    def unread(self) -> list[str]:
        """Arrays that nothing has asked for."""
        return [*self.params.unused, *self.inputs.unused, *self.others]


class Uncovered(ValueError):
    """A case asks for what nothing here does; the message names it."""


Outputs = dict[str, np.ndarray]

Runner = Callable[[Case], Outputs]
"""Our outputs for a case, under the case's names."""


class Measured(dict):
    """Outputs, and how far float32 moves them, for cases that do not say it."""

    def __init__(self, outputs: Outputs, rounding: Mapping[str, float]):
        super().__init__(outputs)
        self.rounding = rounding


@dataclasses.dataclass(frozen=True)
class Difference:
    """The largest errors of one output, and the absolute error it may have."""

    name: str
    absolute: float
    relative: float
    allowed: float
    passed: bool


def read(path: files.PathLike) -> Case:
    """DataError for a file that is no golden case."""
    file = files.require(path, "golden case", "name one, such as tests/golden/*")
    if not file.is_file():
        raise UserError(f"{str(path)!r} is a folder; name the files in it")
    raw = file.read_bytes()
    try:
        header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
        meta = json.loads(header["__metadata__"]["meta"])
        system, config = meta["system"], meta["config"]
        arrays = safetensors.numpy.load(raw)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{str(path)!r} is no golden case ({error}); give a safetensors file with "
            "param/, in/, out/ and the metadata entry meta"
        ) from None
    groups: dict[str, dict[str, np.ndarray]] = {"param": {}, "in": {}, "out": {}}
    others = []
    for name, array in arrays.items():
        group, _, rest = name.partition("/")
        if group in groups:
            groups[group][rest] = array
        else:
            others.append(name)
    return Case(
        system=system,
        config=config,
        rounding=meta.get("rounding", {}),
        params=Tracked(groups["param"], "param"),
        inputs=Tracked(groups["in"], "in"),
        outputs=groups["out"],
        others=others,
    )


def compare(case: Case, found: Arrays) -> list[Difference]:
    """Every output of the case against ours.

    DataError where there is none, or one that we do not make or make otherwise.
    """
    if not case.outputs:
        raise DataError("the case has no out/: nothing to compare")
    return [_difference(case, name, found) for name in sorted(case.outputs)]


def _difference(case: Case, name: str, found: Arrays) -> Difference:
    theirs = case.outputs[name].astype(np.float64)
    if name not in found:
        raise DataError(f"the case has out/{name}, ours are {', '.join(sorted(found))}")
    ours = np.asarray(found[name])
    if ours.shape != theirs.shape:
        raise DataError(f"out/{name} is {theirs.shape}, ours is {ours.shape}")
    off = np.abs(ours.astype(np.float64) - theirs)
    size = np.abs(theirs)
    measured = found.rounding.get(name, 0.0) if isinstance(found, Measured) else 0.0
    allowed = np.broadcast_to(_allowed(case, name, size, measured), off.shape)
    return Difference(
        name=name,
        absolute=float(off.max()),
        relative=float(off.max() / max(size.max(), 1e-30)),
        allowed=float(allowed.max()),
        passed=bool(np.all(off <= allowed)),  # NaN fails
    )


def _allowed(
    case: Case, name: str, size: np.ndarray, measured: float
) -> np.ndarray | float:
    """The absolute error that values of this size may have."""
    if name.startswith("grad"):
        return GRADIENT_ATOL * size.max()
    if case.config.get("method") in ADAPTIVE:
        return ADAPTIVE_ATOL
    if not case.params and not case.inputs:
        return TABLE_ATOL + RTOL * size
    most = min(ROUNDINGS * measured, MEASURED_RTOL * float(size.max()))
    if name in case.rounding:
        most = ROUNDINGS * case.rounding[name]["fp32_minus_fp64_max_abs"]
    if name in TRAJECTORIES:  # a stand-in is no denoiser, and states may grow
        size = size.max()
    return max(ATOLS.get(name, ATOL), most) + RTOL * size
