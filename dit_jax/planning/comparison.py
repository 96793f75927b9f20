"""A plan beside the program that the compiler made of it."""

import dataclasses
from typing import Any

from dit_jax.planning import hlo, roofline
from dit_jax.planning.compilation import Compiled
from dit_jax.planning.plan import Plan

NEGLIGIBLE = 1e-3  # of the planned traffic, all of one kind together: scalars, norms
# What the compiler may write for what is planned: a reduction whole, or a gather or a
# reduction as a ring of permutes beside the products that it feeds.
SPELLINGS = {
    "all-gather": {"all-gather", "collective-permute"},
    "reduce-scatter": {"reduce-scatter", "all-reduce", "collective-permute"},
    "all-reduce": {"all-reduce", "reduce-scatter", "all-gather", "collective-permute"},
    "all-to-all": {"all-to-all"},
    "collective-permute": {"collective-permute"},
}


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What was predicted and what was compiled, never run."""

    plan: Plan
    compiled: Compiled

    @property
    def hardware_flops(self) -> float:
        """Of one device: the products that XLA has, and the scores where kernels
        compute them, which are known by their formula."""
        if not self.compiled.kernels:
            return float(self.compiled.flops)
        plan = self.plan
        return self.compiled.flops + roofline.scores_flops(
            plan.workload, plan.training, plan.topology
        )

    def figures(self) -> dict[str, float]:
        """By the names of `Plan.predictions`."""
        return {
            "hardware_flops": self.hardware_flops,
            "memory_bytes": float(self.compiled.peak),
            "sent_bytes": float(self.compiled.sent),
        }

    def unplanned(self) -> list[hlo.Collective]:
        """Collectives of a kind and along axes that the plan has not, without those
        that are negligible together."""
        allowed = {
            (kind, axis)
            for one in self.plan.collectives
            for kind in SPELLINGS[one.kind]
            for axis in one.axes
        }
        strange = [
            one
            for one in self.compiled.collectives
            if not {(one.kind, axis) for axis in one.axes} <= allowed
        ]
        limit = NEGLIGIBLE * self.plan.sent_bytes
        return [
            one
            for one in strange
            if sum(c.total for c in strange if c.kind == one.kind) > limit
        ]

    def to_json(self) -> dict[str, Any]:
        """What the compiler said, for `Plan.to_json` to stand beside."""
        found = self.compiled
        predicted = self.plan.predictions()
        return {
            "peak_bytes": found.peak,
            "argument_bytes": found.arguments,
            "aliased_bytes": found.aliased,
            "host_bytes": found.host,
            "product_flops": found.flops,
            "kernel_calls": found.kernels,
            "sent_bytes": found.sent,
            "compile_s": round(found.seconds, 1),
            "over_predicted": {
                name: value / predicted[name]
                for name, value in self.figures().items()
                if predicted[name]
            },
            "unplanned": [str(one) for one in self.unplanned()],
            "collectives": [
                {
                    "kind": one.kind,
                    "axes": "*".join(one.axes),
                    "bytes": one.payload,
                    "sent": one.total,
                    "count": one.count,
                    "in_scan": one.in_loop,
                    "scope": one.scope,
                }
                for one in sorted(found.collectives, key=lambda c: -c.total)
            ],
        }


def lines(comparison: Comparison) -> list[str]:
    """For people: what travels, and what was not planned."""
    found = comparison.compiled
    merged: dict[tuple[str, str, bool], list[int]] = {}
    for one in found.collectives:
        key = (one.kind, "*".join(one.axes), one.in_loop)
        count, total = merged.get(key, [0, 0])
        merged[key] = [count + one.count, total + one.total]
    shown = [
        f"    {kind:<18} {axis:<20} {total / 1e6:10.4g} MB in {count} "
        f"{'in the scan' if in_loop else 'outside'}"
        for (kind, axis, in_loop), (count, total) in merged.items()
    ]
    strange = comparison.unplanned()
    return [
        f"  compiled in {found.seconds:.0f} s, not run; a device sends, by kind, axis:",
        *shown,
        f"  {len(strange)} collectives that were not planned"
        + (":" if strange else ""),
        *(f"    {one}" for one in strange),
    ]
