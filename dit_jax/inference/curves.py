"""The curve that step caching is steered by: measured once, kept with the run.

`caching.json` in a run folder holds, for every way of sampling it was asked for, how
the residual's length and the change of input and residual went from call to call, and
what each rule then saved and cost.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from dit_jax import files
from dit_jax.codecs import pixels
from dit_jax.diffusion import options
from dit_jax.errors import UserError
from dit_jax.inference.caching import Memory, Never, Rule, Threshold, schedule
from dit_jax.inference.generate import Draw
from dit_jax.inference.run_folder import Run
from dit_jax.parallel import hosts
from dit_jax.types import Conditioning

FILE = "caching.json"
FORMAT = 1
NUM_CLIPS = 8  # that a curve is measured on, at least


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
    """ratios: length of each call's residual beside the one before. changes: relative
    change of what the first block sees and of the residual. The first call has none."""

    ratios: Float[np.ndarray, " S"]
    changes: Float[np.ndarray, "S 2"]

    @classmethod
    def flat(cls, num_calls: int) -> "Curve":
        """Of a residual that hardly changes."""
        changes = np.stack([np.linspace(0.1, 0.2, num_calls)] * 2, 1)
        return cls(np.ones(num_calls), changes)


@dataclasses.dataclass(frozen=True)
class Saving:
    """What a rule did on `num_clips` clips, and their PSNR against uncached ones, None
    where they are the same."""

    calls: int
    ran: int
    psnr_db: float | None
    num_clips: int

    @property
    def share(self) -> float:
        """Of the calls whose blocks did not run."""
        return 1 - self.ran / self.calls

    def __str__(self) -> str:
        off = "equal to" if self.psnr_db is None else f"{self.psnr_db:.1f} dB against"
        return (
            f"{self.calls - self.ran} of {self.calls} forwards saved ({self.share:.0%})"
            f", {off} uncached ({self.num_clips} clips)"
        )


def mag(
    curve: Curve, threshold: float = 0.06, longest: int = 2, kept: float = 0.2
) -> Rule:
    """MagCache: see `caching.schedule`."""
    if threshold < 0 or longest < 1 or not 0 <= kept <= 1:
        raise UserError(
            f"the threshold of mag is {threshold}, longest {longest}, kept {kept}; "
            "choose 0 or more, 1 or more, and 0 to 1"
        )
    return schedule(curve.ratios, threshold=threshold, longest=longest, kept=kept)


def tea(curve: Curve, threshold: float = 0.15, degree: int = 1) -> Rule:
    """TeaCache: the change of the residual is a polynomial of the input's, fitted to
    the curve."""
    if threshold < 0:
        raise UserError(f"the threshold of tea is {threshold}; choose 0 or more")
    if not 0 < degree < len(curve.changes) - 1:
        raise UserError(
            f"a polynomial of degree {degree} is fitted to {len(curve.changes) - 1} "
            "changes; lower the degree or take more steps"
        )
    seen, done = curve.changes[1:].T
    coefficients = tuple(float(c) for c in np.polyfit(seen, done, degree))
    return Threshold(threshold, coefficients, len(curve.ratios))


RULES: dict[str, Callable[..., Rule]] = {"mag": mag, "tea": tea}


def rule_of(
    name: str,
    run: Run,
    mesh: Mesh,
    folder: files.PathLike,
    conditioning: Conditioning,
    *,
    seed: int,
    guidance: float,
    num_clips: int = NUM_CLIPS,
    **how: Any,
) -> tuple[Rule, Saving]:
    """A row of `RULES` with its options, for this way of sampling, and what it saves.

    Read from `folder`, a run's; what is not there is measured on the first rows of
    `conditioning` and written there. how: what `Draw` takes, without a rule.
    """
    make = options.read(RULES, name, "sample.cache")
    make(Curve.flat(how["steps"]))  # what it cannot be is told before the work
    way = {"step": run.step, "weights": run.weights, "guidance": guidance, **how}
    entries = _stored(folder)
    found = next((entry for entry in entries if entry["way"] == way), None)
    if found is not None and name in found["savings"]:
        curve = Curve(np.array(found["ratios"]), np.array(found["changes"]))
        return make(curve), Saving(**found["savings"][name])
    count = -(-num_clips // mesh.size) * mesh.size
    rows = np.arange(count, dtype=np.int32)
    told = jax.tree.map(lambda leaf: leaf[rows % len(leaf)], conditioning)

    def asked(rule: Rule) -> tuple[np.ndarray, Memory]:
        draw = Draw(run, mesh, rule=rule, **how)
        made, memory = draw.remembered(seed, rows, told, guidance)
        assert memory is not None
        return np.asarray(made), memory

    plain, memory = asked(Never())
    curve = Curve(np.asarray(memory.ratios), np.asarray(memory.changes))
    rule = make(curve)
    made, memory = asked(rule)
    saving = Saving(len(curve.ratios), int(memory.ran), psnr_db(made, plain), count)
    entry = {
        "way": way,
        "ratios": curve.ratios.tolist(),
        "changes": curve.changes.tolist(),
        "savings": (found["savings"] if found else {})
        | {name: dataclasses.asdict(saving)},
    }
    if hosts.is_first():
        others = [other for other in entries if other is not found]
        record = {"format_version": FORMAT, "curves": [*others, entry]}
        files.write_json(files.path(folder) / FILE, record)
    return rule, saving


def psnr_db(made: np.ndarray, wanted: np.ndarray) -> float | None:
    """Of the mean squared error over all clips, of 8-bit pixels; for latents, which
    have no largest value, of what `wanted` spans. None without an error."""
    if np.array_equal(made, wanted):
        return None
    if made.dtype == np.uint8:
        return pixels.psnr_db(float(pixels.squared_error(made, wanted).mean()))
    span = float(wanted.max() - wanted.min())
    error = float(np.mean(np.square(made - wanted), dtype=np.float64))
    return pixels.psnr_db((255 / span) ** 2 * error)


def _stored(folder: files.PathLike) -> list[dict[str, Any]]:
    """The curves of a run; none where they are of another format."""
    file = files.path(folder) / FILE
    if not file.exists():
        return []
    record = files.read_json(file)
    is_known = isinstance(record, dict) and record.get("format_version") == FORMAT
    return record.get("curves", []) if is_known else []
