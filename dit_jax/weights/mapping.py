"""Name maps between another program's parameters and ours, both ways, bit for bit.

A map is a list of rules. Every name of theirs must be read by a rule or be one of their
fixed tables, and every parameter of ours must be filled; what is left over is an error
that lists it.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Shaped

from dit_jax.errors import UserError
from dit_jax.weights.layouts import SAME, Layout

Named = Mapping[str, Shaped[np.ndarray, "..."]]
MOST_LISTED = 10  # names in one sentence


@dataclasses.dataclass(frozen=True)
class Rule:
    """One parameter of ours from one of theirs, or from one of each layer, stacked.

    ours: a path such as `stack/blocks/mlp/layer/out/kernel`. theirs: a name, or the
    names of all layers in order.
    """

    ours: str
    theirs: str | Sequence[str]
    layout: Layout = SAME

    @property
    def names(self) -> Sequence[str]:
        return [self.theirs] if isinstance(self.theirs, str) else self.theirs

    @property
    def paths(self) -> Sequence[str]:
        return [self.ours]

    def read(self, theirs: Named) -> dict[str, np.ndarray]:
        turned = [self.layout.to_ours(theirs[name]) for name in self.names]
        whole = turned[0] if isinstance(self.theirs, str) else np.stack(turned)
        return {self.ours: np.ascontiguousarray(whole)}

    def write(self, ours: Named) -> dict[str, np.ndarray]:
        whole = ours[self.ours]
        parts = [whole] if isinstance(self.theirs, str) else list(whole)
        return {
            name: np.ascontiguousarray(self.layout.to_theirs(part))
            for name, part in zip(self.names, parts, strict=True)
        }


@dataclasses.dataclass(frozen=True)
class Split:
    """Two parameters of ours that stand one after the other in one table of theirs."""

    first: str
    second: str
    theirs: str
    rows: int  # of the first

    @property
    def names(self) -> Sequence[str]:
        return [self.theirs]

    @property
    def paths(self) -> Sequence[str]:
        return [self.first, self.second]

    def read(self, theirs: Named) -> dict[str, np.ndarray]:
        table = theirs[self.theirs][0]
        return {self.first: table[: self.rows], self.second: table[self.rows :]}

    def write(self, ours: Named) -> dict[str, np.ndarray]:
        return {
            self.theirs: np.concatenate([ours[self.first], ours[self.second]])[None]
        }


Rules = Sequence[Rule | Split]


def to_ours(
    rules: Rules, theirs: Named, abstract_params: Any, fixed: Sequence[str] = ()
) -> Any:
    """Our parameters, in the structure of `abstract_params`.

    fixed: their tables that we compute. UserError lists names that are missing, that
    nobody reads, and shapes that differ.
    """
    _same_model(rules, abstract_params)
    wanted = their_shapes(rules, abstract_params)
    _same_names(set(wanted), set(theirs) - set(fixed), "the file")
    wrong = [
        f"{name} is {theirs[name].shape}, wanted {shape}"
        for name, shape in wanted.items()
        if theirs[name].shape != shape
    ]
    if wrong:
        raise UserError(
            f"the file's parameters do not fit this model: {listed(wrong, '; ')}; "
            "change the model's sizes to the file's"
        )
    found: dict[str, np.ndarray] = {}
    for rule in rules:
        found |= rule.read(theirs)
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: found[_name(path)].astype(leaf.dtype), abstract_params
    )


def to_theirs(rules: Rules, params: Any) -> dict[str, np.ndarray]:
    """Their names and layouts, the inverse of `to_ours` but for their fixed tables.

    UserError when the model has other parameters than the rules.
    """
    _same_model(rules, params)
    ours = {path: np.asarray(leaf) for path, leaf in paths(params)}
    written: dict[str, np.ndarray] = {}
    for rule in rules:
        written |= rule.write(ours)
    return written


def their_shapes(rules: Rules, abstract_params: Any) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter of theirs; nothing large is allocated for long."""
    ours = {
        path: np.broadcast_to(np.float32(0), leaf.shape)
        for path, leaf in paths(abstract_params)
    }
    return {
        name: part.shape for rule in rules for name, part in rule.write(ours).items()
    }


def listed(items: Sequence[str], separator: str = ", ") -> str:
    """At most `MOST_LISTED` of them, and how many more there are."""
    more = len(items) - MOST_LISTED
    shown = separator.join(items[:MOST_LISTED])
    return f"{shown} and {more} more" if more > 0 else shown


def paths(params: Any) -> Iterator[tuple[str, Any]]:
    """(path, leaf) of every parameter."""
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        yield _name(path), leaf


def _name(path: Any) -> str:
    return "/".join(str(key.key) for key in path)


def _same_model(rules: Rules, params: Any) -> None:
    ours = {path for path, _ in paths(params)}
    theirs = {path for rule in rules for path in rule.paths}
    if ours != theirs:
        text = listed(sorted(ours ^ theirs))
        raise UserError(
            f"the model is not of the system that was named: they differ in {text}; "
            "name another system or leave values of model.* out"
        )


def _same_names(wanted: set[str], found: set[str], where: str) -> None:
    missing, unknown = sorted(wanted - found), sorted(found - wanted)
    if missing or unknown:
        lacks = f"lacks {listed(missing)}" if missing else ""
        has = f"has unknown {listed(unknown)}" if unknown else ""
        raise UserError(
            f"{where} {' and '.join(filter(None, [lacks, has]))}; give the weights of "
            "the system and the sizes that were named"
        )
