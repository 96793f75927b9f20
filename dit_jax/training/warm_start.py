"""Step 0 from the weights of another run."""

import re
from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import Mesh

from dit_jax.checkpoints import Checkpoints
from dit_jax.errors import UserError, choose
from dit_jax.parallel import sharding


def load(
    source: str,
    params: Any,
    mesh: Mesh,
    *,
    weights: str,
    allow: Sequence[str],
) -> tuple[Any, list[str]]:
    """(parameters taken from `RUN[@STEP]`, the names that kept their fresh values).

    Names or shapes that differ between the two are refused and listed, unless one of
    the regular expressions `allow` matches them.
    """
    choose(dict.fromkeys(("ema", "params")), weights, "train.init_weights")
    _check_patterns(allow)
    folder, step = _folder_and_step(source)
    checkpoints = Checkpoints(folder)
    step = checkpoints.choose(step)
    theirs = checkpoints.shapes(step, weights)
    ours = {name: leaf.shape for name, leaf in _by_name(params).items()}
    different = _differences(ours, theirs)
    refused = {
        name: why
        for name, why in different.items()
        if not any(re.search(pattern, name) for pattern in allow)
    }
    if refused:
        listing = "; ".join(f"{name} {why}" for name, why in sorted(refused.items()))
        raise UserError(
            f"train.init_from={source} does not fit this model ({listing}); change the "
            "model or allow them by name in train.init_allow"
        )
    whole = sharding.replicated(mesh)
    placed = {name: leaf.sharding for name, leaf in _by_name(params).items()}
    abstract = {
        name: jax.ShapeDtypeStruct(
            shape, "float32", sharding=whole if name in different else placed[name]
        )
        for name, shape in theirs.items()
    }
    stored = _by_name(checkpoints.restore(step, weights, _nested(abstract)))
    kept = sorted(name for name in ours if name in different)
    merged = {
        name: leaf if name in different else stored[name]
        for name, leaf in _by_name(params).items()
    }
    return _nested(merged), kept


def _folder_and_step(source: str) -> tuple[str, int | None]:
    folder, at, step = source.rpartition("@")
    if at and step.isdigit():
        return folder, int(step)
    return source, None


def _check_patterns(allow: Sequence[str]) -> None:
    for pattern in allow:
        try:
            re.compile(pattern)
        except (re.error, TypeError) as error:
            raise UserError(
                f"train.init_allow has {pattern!r}, which is not a regular expression "
                f"({error}); give parameter names or patterns of them"
            ) from error


def _differences(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, str]:
    found = {}
    for name in ours.keys() | theirs.keys():
        if name not in theirs:
            found[name] = f"{ours[name]} is missing there"
        elif name not in ours:
            found[name] = f"{theirs[name]} is unknown here"
        elif tuple(ours[name]) != tuple(theirs[name]):
            found[name] = f"is {theirs[name]} there, {ours[name]} here"
    return found


def _by_name(tree: Any) -> dict[str, Any]:
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {sharding.path_name(path): leaf for path, leaf in flat}


def _nested(flat: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, leaf in flat.items():
        *parents, last = name.split("/")
        node = tree
        for part in parents:
            node = node.setdefault(part, {})
        node[last] = leaf
    return tree
