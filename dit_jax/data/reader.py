"""Random access to the records of one split, checked against the manifest."""

import bisect
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from dit_jax import files
from dit_jax.data import manifest as manifest_lib
from dit_jax.data import records
from dit_jax.data.manifest import REMEDY, Manifest, Shard
from dit_jax.data.stores import choose_store
from dit_jax.errors import DataError, UserError

MANY = 32  # records at a time where all are read


class Reader:
    """`reader[i]` is record i of a split as a dict of arrays, raw as they are stored.

    Opening compares each shard's size (and its count, where the store tells one) with
    the manifest; `verify` also hashes every shard. Raises DataError that names the
    shard, and the record where it is one. Threads may share a reader.
    """

    def __init__(self, path: files.PathLike, split: str, *, verify: bool = False):
        self.manifest: Manifest = manifest_lib.read(path)
        self._folder = files.path(path)
        self._shards = [s for s in self.manifest.shards if s.split == split]
        if not self._shards:
            raise UserError(
                f"dataset {str(path)!r} has no {split} examples, only "
                f"{self.manifest.splits}; prepare it with another prepare.validation"
            )
        self._ends = list(itertools.accumulate(s.records for s in self._shards))
        self._require_shards(verify)
        store = choose_store(self.manifest.store, path)
        self._format = records.Format(self.manifest.fields)
        self._fetch = store.open(path, self._shards, self._format.num_bytes)

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return self._begin(index)()

    def each(self, indices: Sequence[int]) -> Iterator[dict[str, np.ndarray]]:
        """Records one by one. All are asked for before the first is waited for, so that
        the store reads as many at once as it allows."""
        for wait in [self._begin(i) for i in indices]:
            yield wait()

    def batch(self, indices: Sequence[int]) -> dict[str, np.ndarray]:
        """Records stacked by field."""
        return stack(list(self.each(indices)))

    def column(self, name: str) -> Iterator[np.ndarray]:
        """One field of every record; reads all of them."""
        for start in range(0, len(self), MANY):
            yield from self.batch(range(start, min(start + MANY, len(self))))[name]

    def _begin(self, index: int) -> Callable[[], dict[str, np.ndarray]]:
        """Starts to read record `index`; what is returned waits for it."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        position = bisect.bisect_right(self._ends, index)
        shard = self._shards[position]
        inside = index - (self._ends[position] - shard.records)
        wait = self._fetch(shard, inside)

        def finish() -> dict[str, np.ndarray]:
            try:
                return self._format.unpack(wait())
            except ValueError as error:
                raise DataError(
                    f"record {inside} of shard {shard.file} (record {index} of "
                    f"{shard.split}) of {self._folder} {error}; {REMEDY}"
                ) from error

        return finish

    def _require_shards(self, verify: bool) -> None:
        files_of = {os.fspath(self._folder / s.file): s for s in self._shards}
        sizes = files.sizes({name: s.bytes for name, s in files_of.items()})
        for name, shard in files_of.items():
            if sizes[name] is None:
                raise DataError(
                    f"shard {shard.file} of {self._folder} is missing; copy it again, "
                    f"or {REMEDY}"
                )
            self._compare(shard, "bytes", sizes[name], shard.bytes)
            if verify:
                self._compare(shard, "sha256", files.sha256(name), shard.sha256)

    def _compare(self, shard: Shard, what: str, found: object, wanted: object) -> None:
        if found != wanted:
            raise DataError(
                f"shard {shard.file} of {self._folder} has {what} {found}, wanted "
                f"{wanted}; it is cut, changed or of another dataset, copy it again or "
                f"{REMEDY}"
            )


def stack(found: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.stack([record[name] for record in found]) for name in found[0]}
