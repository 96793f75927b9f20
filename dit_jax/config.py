"""Load a config file, override it, lock it, check it, store it. No JAX import.

A config file is Python: `get_config(arg)` returns an `ml_collections.ConfigDict`.
Loading one runs it, so load only files you would run. Resuming reads the stored JSON
and never runs the file again.
"""

import ast
import copy
import importlib.metadata
import importlib.util
import math
import os
import platform
import sys
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict, config_dict

from dit_jax import files
from dit_jax.errors import DataError, UserError, nearest

SNAPSHOT = "config.json"
FORMAT_VERSION = 1
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def load(spec: str, overrides: Mapping[str, str] | None = None) -> ConfigDict:
    """The locked config of `FILE.py[:ARG]` with `key.path=text` overrides applied."""
    name, _, argument = spec.partition(":")
    file = files.require(name, "config", "give --config=configs/NAME.py[:ARGUMENT]")
    if file.is_dir() or file.suffix != ".py":
        raise UserError(f"config {name!r} is not a .py file; give configs/NAME.py")
    config = _run_config_file(os.fspath(file), argument)
    return override(config.lock(), overrides or {})


def _run_config_file(file: str, argument: str) -> ConfigDict:
    root = os.path.dirname(os.path.dirname(os.path.abspath(file)))
    if root not in sys.path:  # so that `from configs import common` works anywhere
        sys.path.append(root)
    module_spec = importlib.util.spec_from_file_location("experiment_config", file)
    assert module_spec is not None and module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    try:
        module_spec.loader.exec_module(module)
        if not hasattr(module, "get_config"):
            raise UserError(f"config {file!r} has no function get_config(arg); add one")
        config = module.get_config(argument)
    except UserError:
        raise
    except Exception as error:  # whatever a user's Python can raise
        raise UserError(
            f"config {file!r} does not load: {_sentence(error)}; correct the file"
        ) from error
    if not isinstance(config, ConfigDict):
        raise UserError(
            f"get_config of {file!r} returned {type(config).__name__}; return the "
            "ConfigDict of configs/common.py with your changes"
        )
    return config


def _sentence(error: Exception) -> str:
    """Kind and text of an error, without the listing in the middle of long ones."""
    # a KeyError inside another error is quoted, and so are its line ends
    lines = str(error).strip("'").replace("\\n", "\n").splitlines() or [""]
    text = lines[0].partition(" Other fields present")[0]
    return " ".join([f"{type(error).__name__}: {text}", *lines[1:][-1:]])


def parse_argument(argument: str, *, default: str, choices: tuple[str, ...]) -> str:
    """The one argument of a config file; anything left over is refused."""
    value = argument or default
    if value not in choices:
        raise UserError(
            f"config argument {value!r} does not exist; choose one of "
            f"{', '.join(choices)}{nearest(value, choices)}"
        )
    return value


def override(config: ConfigDict, overrides: Mapping[str, str]) -> ConfigDict:
    """A locked copy with `{"train.num_steps": "20"}` style values read by type."""
    config = copy.deepcopy(config)  # ConfigDict(config) would share its sections
    for key, text in overrides.items():
        *parents, leaf = key.split(".")
        section = config
        for depth, part in enumerate([*parents, leaf]):
            if not isinstance(section, ConfigDict) or part not in section:
                raise UserError(_unknown_key(config, key))
            if depth < len(parents):
                section = section[part]
        if isinstance(section[leaf], ConfigDict):
            raise UserError(
                f"config.{key} is a section, not a value; set one of "
                f"{', '.join(f'config.{key}.{name}' for name in section[leaf])}"
            )
        with section.unlocked():
            section[leaf] = _read_value(
                text, section.get_type(leaf), section[leaf], key
            )
    return config.lock()


def _unknown_key(config: ConfigDict, key: str) -> str:
    known = list(flatten(config))
    hint = nearest(key, known)
    if not hint:  # a right name in the wrong section
        leaf = key.rsplit(".", 1)[-1]
        same = [k for k in known if k.rsplit(".", 1)[-1] == leaf]
        hint = f"; did you mean {same[0]!r}?" if same else nearest(leaf, known)
    return f"config.{key} does not exist" + (hint or "; see configs/common.py")


def _read_value(text: str, kind: type, present: Any, key: str) -> Any:
    # "none" is a choice of many keys that hold a name; None never is
    is_none = text == "None" if kind is str else text.lower() == "none"
    if is_none and (present is None or kind is type(None)):
        return None
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        if kind is int:
            return int(text)
        if kind is float:
            return _finite(text)
        if kind is str:
            return text
        if kind in (tuple, list):
            return _read_tuple(text, present)
        return _read_untyped(text)
    except (ValueError, KeyError, SyntaxError) as error:
        raise UserError(
            f"config.{key}={text!r} is not a {kind.__name__}; the present value is "
            f"{present!r}"
        ) from error


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


def _read_untyped(text: str) -> Any:
    """For a value that was None when it was stored: a literal, else the text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _read_tuple(text: str, present: Any) -> tuple[Any, ...]:
    """`(4,8,8)`, `4,8,8` or `name,name`; elements have the type of the present ones."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        inside = text[1:-1] if text[:1] + text[-1:] == "()" else text
        value = tuple(part.strip() for part in inside.split(",") if part)
    value = value if isinstance(value, (tuple, list)) else (value,)
    kinds = {type(item) for item in present or ()}
    if kinds and not {type(item) for item in value} <= kinds:
        raise ValueError
    return tuple(value)


def flatten(config: Mapping[str, Any] | ConfigDict, prefix: str = "") -> dict[str, Any]:
    """`{"train.num_steps": 20, ...}` of nested sections."""
    flat: dict[str, Any] = {}
    for key in config:
        value = config[key]
        if isinstance(value, (Mapping, ConfigDict)):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def section(config: ConfigDict, name: str) -> dict[str, Any]:
    """One section as plain keyword arguments; placeholders are None."""
    return config[name].to_dict()


def write_snapshot(folder: files.PathLike, config: ConfigDict, **facts: Any) -> None:
    """Stores the resolved values, the versions and other facts in `config.json`."""
    snapshot = {
        "format_version": FORMAT_VERSION,
        "config": config.to_dict(),
        "versions": versions(),
        **facts,
    }
    files.write_json(files.path(folder) / SNAPSHOT, snapshot)


def read_snapshot(folder: files.PathLike) -> dict[str, Any]:
    """The stored `config.json` of a run folder, `config` as a locked ConfigDict."""
    file = files.path(folder) / SNAPSHOT
    files.require(file, "run snapshot", "give the --workdir of a training run")
    snapshot = files.read_json(file)
    parts = {"config": dict, "dataset": dict, "format_version": int}
    if (
        not isinstance(snapshot, dict)
        or not all(isinstance(snapshot.get(k), kind) for k, kind in parts.items())
        or snapshot["format_version"] != FORMAT_VERSION
    ):
        raise DataError(
            f"{os.fspath(file)} is not a run snapshot of format {FORMAT_VERSION}; it "
            "was edited, or use the version of dit_jax that wrote it"
        )
    snapshot["config"] = _from_plain(snapshot["config"]).lock()
    return snapshot


def has_snapshot(folder: files.PathLike) -> bool:
    return (files.path(folder) / SNAPSHOT).exists()


def _from_plain(values: Mapping[str, Any]) -> ConfigDict:
    config = ConfigDict()
    for key, value in values.items():
        if isinstance(value, Mapping):
            config[key] = _from_plain(value)
        elif value is None:
            config[key] = config_dict.placeholder(object)
        else:
            config[key] = tuple(value) if isinstance(value, list) else value
    return config


def differences(
    old: Mapping[str, Any] | ConfigDict, new: Mapping[str, Any] | ConfigDict
) -> dict[str, tuple[Any, Any]]:
    """`{key: (old, new)}` of all values that differ."""
    a, b = flatten(old), flatten(new)
    plain = lambda v: list(v) if isinstance(v, tuple) else v  # noqa: E731
    return {
        key: (a.get(key), b.get(key))
        for key in sorted(a.keys() | b.keys())
        if plain(a.get(key)) != plain(b.get(key))
    }


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of those that decide the numbers."""
    found = {"python": platform.python_version()}
    for name in ("dit_jax", *PACKAGES):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
