"""Classes of a dataset: a table of functions from a window to what it belongs to."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from dit_jax.data.sources.clips import Window
from dit_jax.data.sources.videos import Source
from dit_jax.errors import choose


@dataclasses.dataclass(frozen=True)
class ClassEntry:
    """A class in the manifest. source, start_s, end_s are None for a whole folder."""

    name: str
    source: str | None
    start_s: float | None
    end_s: float | None

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "ClassEntry":
        return cls(**value)


Shots = Sequence[Sequence[tuple[int, int]]]
Key = tuple[Any, ...]

KEYS: dict[str, Callable[[Window, Sequence[Source]], Key | None]] = {
    "shot": lambda window, sources: (window.source, window.shot),
    "source": lambda window, sources: (window.source,),
    "folder": lambda window, sources: (sources[window.source].folder,),
    "one": lambda window, sources: (),
    "none": lambda window, sources: None,
}


def classes(
    label: str,
    windows: Sequence[Window],
    *,
    sources: Sequence[Source],
    shots: Shots,
    fps: Sequence[float],
) -> tuple[list[ClassEntry], dict[Key, int]]:
    """The classes that training windows have, in their order, and key -> number.

    Shots too short for a clip are no class. Both are empty for `none`.
    """
    key_of = choose(KEYS, label, "prepare.label")
    numbers: dict[Key, int] = {}
    entries = []
    for window in windows:
        key = key_of(window, sources)
        if key is None or key in numbers:
            continue
        numbers[key] = len(numbers)
        entries.append(_entry(label, window, sources, shots, fps))
    return entries, numbers


def _entry(
    label: str,
    window: Window,
    sources: Sequence[Source],
    shots: Shots,
    fps: Sequence[float],
) -> ClassEntry:
    source = sources[window.source]
    if label == "folder":
        return ClassEntry(source.folder, None, None, None)
    if label == "one":
        return ClassEntry("clip", None, None, None)
    first, end = 0, shots[window.source][-1][1]
    name = source.name
    if label == "shot":
        first, end = shots[window.source][window.shot]
        if len(shots[window.source]) > 1:
            name = f"{name} shot {window.shot + 1}"
    rate = fps[window.source]
    return ClassEntry(name, source.name, round(first / rate, 3), round(end / rate, 3))
