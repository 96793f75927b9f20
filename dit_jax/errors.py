"""What can go wrong, by the exit code that a launcher acts on.

0 done, 64 bad flag, config or input, 65 bad data, 70 internal, 74 storage,
75 preempted (requeue). A plain ValueError counts as 64.
"""

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


class UserError(ValueError):
    """A flag, config value or input that the user must change."""


class NoAnswer(UserError):
    """What is asked has no answer at an end of a process; inside there is one."""


class DataError(ValueError):
    """Stored data that is corrupt, incomplete or of another kind than it says."""


class StorageError(OSError):
    """A disk or store that is full, read-only or unreachable."""


class Preempted(Exception):
    """The run was asked to stop; its state is saved and it should be requeued."""


EXIT_CODES: dict[type[BaseException], int] = {
    Preempted: 75,
    DataError: 65,
    UserError: 64,
    OSError: 74,
    ValueError: 64,
}
INTERNAL = 70


def exit_code(error: BaseException) -> int:
    """The exit code of an exception: the first row of the table that fits."""
    for kind, code in EXIT_CODES.items():
        if isinstance(error, kind):
            return code
    return INTERNAL


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the closest known name, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def choose(table: Mapping[str, T], name: str, key: str) -> T:
    """`table[name]`, or a ValueError that names the config key and the choices."""
    if name not in table:
        raise UserError(
            f"{key} is {name!r}, which does not exist; choose one of "
            f"{', '.join(sorted(table))}{nearest(name, table)}"
        )
    return table[name]
