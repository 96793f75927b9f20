"""Random access to the records of one split, checked against the manifest."""

import bisect
import itertools
from collections.abc import Sequence

import numpy as np
from array_record.python import array_record_module

from dit_jax import files
from dit_jax.data import manifest as manifest_lib
from dit_jax.data import records, writer
from dit_jax.data.manifest import REMEDY, Manifest, Shard
from dit_jax.errors import DataError, UserError


class Reader:
    """`reader[i]` is record i of a split as a dict of arrays, raw as they are stored.

    Opening compares each shard's size and count with the manifest (a truncated
    ArrayRecord opens without an error as one of 0 records); `verify` also hashes every
    shard. Raises DataError that names the shard, and the record where it is one.
    Threads may share a reader.
    """

    def __init__(self, path: files.PathLike, split: str, *, verify: bool = False):
        writer.require_local(path)
        self.manifest: Manifest = manifest_lib.read(path)
        self._folder = files.path(path)
        self._shards = [s for s in self.manifest.shards if s.split == split]
        if not self._shards:
            raise UserError(
                f"dataset {str(path)!r} has no {split} examples, only "
                f"{self.manifest.splits}; prepare it with another prepare.validation"
            )
        self._readers = [self._open(shard, verify) for shard in self._shards]
        self._ends = list(itertools.accumulate(s.records for s in self._shards))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        position = bisect.bisect_right(self._ends, index)
        shard = self._shards[position]
        inside = index - (self._ends[position] - shard.records)
        try:
            (data,) = self._readers[position].read([inside])
            return records.unpack(data, self.manifest.fields)
        except (RuntimeError, ValueError) as error:
            raise DataError(
                f"record {inside} of shard {shard.file} (record {index} of "
                f"{shard.split}) of {self._folder} {_reason(error)}; {REMEDY}"
            ) from error

    def batch(self, indices: Sequence[int]) -> dict[str, np.ndarray]:
        """Records stacked by field."""
        found = [self[i] for i in indices]
        return {name: np.stack([r[name] for r in found]) for name in found[0]}

    def _open(
        self, shard: Shard, verify: bool
    ) -> array_record_module.ArrayRecordReader:
        file = self._folder / shard.file
        if not file.exists():
            raise DataError(
                f"shard {shard.file} of {self._folder} is missing; copy it again, or "
                f"{REMEDY}"
            )
        self._compare(shard, "bytes", file.stat().length, shard.bytes)
        if verify:
            self._compare(shard, "sha256", files.sha256(file), shard.sha256)
        try:
            # Records are read in shuffled order: reading ahead would be waste.
            reader = array_record_module.ArrayRecordReader(
                str(file), "readahead_buffer_size:0"
            )
            count = reader.num_records()
        except RuntimeError as error:
            raise DataError(
                f"shard {shard.file} of {self._folder} does not open ({error}); "
                f"{REMEDY}"
            ) from error
        self._compare(shard, "records", count, shard.records)
        return reader

    def _compare(self, shard: Shard, what: str, found: object, wanted: object) -> None:
        if found != wanted:
            raise DataError(
                f"shard {shard.file} of {self._folder} has {what} {found}, wanted "
                f"{wanted}; it is cut, changed or of another dataset, copy it again or "
                f"{REMEDY}"
            )


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, ValueError) else f"is corrupt ({error})"
