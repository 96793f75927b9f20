"""The curve that step caching is steered by: measured once, kept with the run.

`caching.json` in a run folder holds, for every way of sampling it was asked for, how
the residual's length and the change of input and residual went from call to call, and
what each rule then saved and cost.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from dit_jax.errors import UserError
from dit_jax.inference.caching import Rule, Threshold, schedule

FILE = "caching.json"
FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Curve:
    """ratios: length of each call's residual beside the one before. changes: relative
    change of what the first block sees and of the residual. The first call has none."""

    ratios: Float[np.ndarray, " S"]
    changes: Float[np.ndarray, "S 2"]

    def resampled(self, num_calls: int) -> "Curve":
        """The curve of another number of calls: ratios and changes are of steps, so a
        step twice as long counts for both."""
        old, new = (np.linspace(0, 1, n) for n in (len(self.ratios), num_calls))
        share = (len(self.ratios) - 1) / max(num_calls - 1, 1)

        def along(values: np.ndarray) -> np.ndarray:
            return np.interp(new, old[1:], values[1:])

        ratios = np.exp(share * along(np.log(self.ratios)))
        changes = share * np.stack([along(c) for c in self.changes.T], 1)
        return Curve(ratios, changes)


def mag(
    curve: Curve, threshold: float = 0.06, longest: int = 2, kept: float = 0.2
) -> Rule:
    """MagCache: see `caching.schedule`."""
    return schedule(curve.ratios, threshold=threshold, longest=longest, kept=kept)


def tea(curve: Curve, threshold: float = 0.15, degree: int = 1) -> Rule:
    """TeaCache: the change of the output is a polynomial of the input's, fitted to the
    curve."""
    if not 0 < degree < len(curve.changes) - 1:
        raise UserError(
            f"a polynomial of degree {degree} is fitted to {len(curve.changes) - 1} "
            "changes; lower the degree or take more steps"
        )
    seen, done = curve.changes[1:].T
    coefficients = tuple(float(c) for c in np.polyfit(seen, done, degree))
    return Threshold(threshold, coefficients, len(curve.ratios))


RULES: dict[str, Callable[..., Rule]] = {"mag": mag, "tea": tea}
