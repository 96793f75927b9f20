"""Batches of normalised latents from a dataset, in a reproducible order, on every host.

All hosts walk through the same global batches and each reads only its `rows` of them.
Reading ahead is done by Grain's threads; neither their number nor the buffer changes
what comes out. Flips and label dropout are not drawn here: the train step draws them
from per-row keys.
"""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import grain
import numpy as np
from jaxtyping import Float

from dit_jax import files
from dit_jax.data import order
from dit_jax.data.manifest import Manifest
from dit_jax.data.reader import Reader, stack
from dit_jax.data.records import LATENTS
from dit_jax.errors import UserError
from dit_jax.types import Batch

BATCH_FIELDS = (
    LATENTS,
    "example_id",
    "label",
    "text",
    "text_mask",
    "pooled",
    "fps",
)


MAX_REPEATS = 1000  # an epoch is a list in memory


class Loader:
    """Endless batches of a split.

    batch_size: global, over all hosts. rows: the positions of the global batch that
    this host needs; None is all. start_index: the `next_index` of the run to go on
    with. repeats: visits of an epoch to the examples of each source of the manifest, 0
    leaves them out; () is one each. num_threads, prefetch: reading threads and batches
    read ahead; 0 threads read in the caller. `next_index` counts what was handed out,
    not what was read ahead.
    """

    def __init__(
        self,
        path: files.PathLike,
        *,
        batch_size: int,
        seed: int,
        split: str = "train",
        rows: Sequence[int] | None = None,
        start_index: int = 0,
        repeats: Sequence[int] = (),
        num_threads: int = 4,
        prefetch: int = 8,
    ):
        for key, count in {"num_threads": num_threads, "prefetch": prefetch}.items():
            if count < 0:
                raise UserError(f"data.{key} is {count}; give 0 or more")
        self._reader = Reader(path, split)
        self._epoch = _epoch(self._reader, repeats)
        if not 0 < batch_size <= len(self._epoch):
            # A larger batch would hold an example twice, which no epoch accounts for
            # and which nearly always means the wrong dataset.
            raise UserError(
                f"batch size {batch_size} does not fit dataset {str(path)!r} of "
                f"{len(self._epoch)} {split} examples; choose 1 to {len(self._epoch)}"
            )
        self._batch_size, self._seed = batch_size, seed
        self._rows = _rows(rows, batch_size)
        self._start = self.next_index = start_index
        options = grain.ReadOptions(
            num_threads=num_threads, prefetch_buffer_size=prefetch if num_threads else 0
        )
        batches = grain.MapDataset.source(_Endless(self._read))
        self._batches = iter(batches.to_iter_dataset(options))

    def __iter__(self) -> "Loader":
        return self

    def __next__(self) -> Batch:
        """This host's rows of the next global batch, as numpy arrays."""
        batch = next(self._batches)
        self.next_index += self._batch_size
        return Batch(**batch)

    def _read(self, number: int) -> dict[str, Any]:
        """Thread-safe; the batch `number` after the start."""
        first = self._start + number * self._batch_size
        positions = [
            order.position(first + row, num_examples=len(self._epoch), seed=self._seed)
            for row in self._rows
        ]
        return _fields(self._reader, [self._epoch[place] for place in positions])


class Validation:
    """All examples of a split (or `num_examples` of them, evenly spaced), each once, in
    fixed order. Iterating starts anew every time."""

    def __init__(
        self,
        path: files.PathLike,
        *,
        batch_size: int,
        split: str = "validation",
        rows: Sequence[int] | None = None,
        num_examples: int | None = None,
    ):
        self._reader = Reader(path, split)
        if batch_size < 1:
            raise UserError(f"validation batch size is {batch_size}; choose 1 or more")
        if num_examples is not None and num_examples < 1:
            raise UserError(
                f"validation.num_examples is {num_examples}; choose 1 or more"
            )
        count = len(self._reader)
        count = count if num_examples is None else min(num_examples, count)
        self.positions = [i * len(self._reader) // count for i in range(count)]
        self._batch_size = batch_size
        self._rows = _rows(rows, batch_size)

    def __len__(self) -> int:
        """Batches."""
        return -(-len(self.positions) // self._batch_size)

    def __iter__(self) -> Iterator[tuple[Batch, Float[np.ndarray, " B"]]]:
        """(batch, weight): the last batch is filled with copies of weight 0."""
        for number in range(len(self)):
            places = [number * self._batch_size + row for row in self._rows]
            last = len(self.positions) - 1
            chosen = [self.positions[min(place, last)] for place in places]
            weight = np.asarray([place <= last for place in places], np.float32)
            yield Batch(**_fields(self._reader, chosen)), weight


class _Endless:
    """A Grain source that computes its elements."""

    def __init__(self, read):
        self._read = read

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._read(int(index))

    def __repr__(self) -> str:
        return "latent batches"


def require_repeats(repeats: Any, manifest: Manifest) -> None:
    """UserError unless `repeats` is empty or has a fit number for every source."""
    if isinstance(repeats, tuple | list) and not repeats:
        return
    names = [source.name for source in manifest.sources]
    fit = (
        isinstance(repeats, tuple | list)
        and len(repeats) == len(names)
        and all(type(n) is int and 0 <= n <= MAX_REPEATS for n in repeats)
        and any(repeats)
    )
    if not fit:
        raise UserError(
            f"data.repeats is {repeats!r}; give a whole number of 0 to {MAX_REPEATS}, "
            f"not all 0, for each source of the dataset: {', '.join(names)}"
        )


def _epoch(reader: Reader, repeats: Sequence[int]) -> Sequence[int]:
    """The visits of one epoch; reads every record where sources repeat."""
    require_repeats(repeats, reader.manifest)
    if not repeats:
        return range(len(reader))
    sources = [int(source) for source in reader.column("source")]
    return order.epoch(sources, repeats)


def _rows(rows: Sequence[int] | None, batch_size: int) -> list[int]:
    chosen = list(range(batch_size)) if rows is None else [int(row) for row in rows]
    assert all(0 <= row < batch_size for row in chosen), (chosen, batch_size)
    return chosen


def _fields(reader: Reader, positions: Sequence[int]) -> dict[str, Any]:
    """The fields of a `Batch`; what it has no name for goes to `extra`."""
    shape = (len(positions), *reader.manifest.latent_shape)
    latents = np.empty(shape, np.float32)
    found = []
    # One by one: a record stays in the processor's cache from its bytes to its numbers.
    for row, record in enumerate(reader.each(positions)):
        latents[row] = reader.manifest.codec.normalize(record.pop(LATENTS))
        found.append(record)
    fields = {LATENTS: latents} | stack(found)
    known = {name: _whole(fields.pop(name)) for name in BATCH_FIELDS if name in fields}
    return known | {"extra": fields}


def _whole(value: np.ndarray) -> np.ndarray:
    """Half precision is for the disk only."""
    return value.astype(np.float32) if value.dtype == np.float16 else value
