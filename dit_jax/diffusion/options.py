"""Rows of a table with options of their own, as one writes them: `ddim:eta=0.5`."""

import inspect
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

from dit_jax.errors import UserError, choose

Result = TypeVar("Result")


def read(
    table: Mapping[str, Callable[..., Result]], text: str, key: str
) -> Callable[..., Result]:
    """The function that `text` names, `name` or `name:option=value,option=value`.

    Options are the function's arguments with a number, a word or True / False as
    default. key: what is being chosen, for messages. UserError lists what exists.
    """
    name, _, given = text.partition(":")
    function = choose(table, name, key)
    bound = function.keywords if isinstance(function, partial) else {}
    defaults = {
        option: parameter.default
        for option, parameter in inspect.signature(function).parameters.items()
        if isinstance(parameter.default, bool | int | float | str)
        and option not in bound
    }
    values = {}
    for part in filter(None, given.split(",")):
        option, equals, value = part.partition("=")
        kind = type(choose(defaults, option, f"an option of {key} {name}"))
        if option in values:
            raise UserError(f"{option} of {key} {name} is given twice; give it once")
        values[option] = _value(kind, value, f"{option} of {key} {name}")
    return partial(function, **values) if values else function


def _value(kind: type, text: str, what: str) -> bool | int | float | str:
    try:
        value = {"True": True, "False": False}[text] if kind is bool else kind(text)
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError("no number to count with")
        return value
    except (ValueError, KeyError):
        wanted = {bool: "True or False", int: "a whole number", float: "a number"}
        raise UserError(f"{what} is {text!r}; give {wanted[kind]}") from None
