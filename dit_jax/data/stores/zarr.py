"""Records in a sharded zarr array (version 3), on file systems and in buckets.

A split is one array of bytes [records, bytes of a record], `train.zarr`. A shard is one
object; in it each record is a chunk with a crc32c of its own, and so is the index. So
a record is one request of a bucket, whatever number of fields it has, and one flipped
bit costs one record.
"""

import hashlib
import itertools
import os
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorstore as ts

from dit_jax import buckets, files
from dit_jax.data.manifest import REMEDY, Shard
from dit_jax.data.records import Buffer
from dit_jax.errors import DataError, UserError

SUFFIX = ".zarr"
# A shard is put together in memory, twice: as records and as the object to write.
MAX_SHARD_BYTES = 1 << 30
# What TensorStore says when the store answers and what it holds is wrong.
DAMAGE = ("DATA_LOSS", "NOT_FOUND", "OUT_OF_RANGE", "FAILED_PRECONDITION", "INVALID")


class Zarr:
    remote = True
    names = re.compile(r"\w+\.zarr$")

    def shard(
        self, folder: files.PathLike, split: str, number: int, records_per_shard: int
    ) -> "ZarrShard":
        return ZarrShard(folder, split, number, records_per_shard)

    def finish(
        self, folder: files.PathLike, shards: Sequence[Shard], num_bytes: int
    ) -> None:
        """Writes the `zarr.json` of the split."""
        _, objects = _in_memory(_of_split(shards, num_bytes))
        name = f"{shards[0].split}{SUFFIX}/zarr.json"
        files.write_bytes(files.path(folder) / name, objects["zarr.json"])

    def open(
        self, folder: files.PathLike, shards: Sequence[Shard], num_bytes: int
    ) -> Callable[[Shard, int], Callable[[], Buffer]]:
        array = _open(folder, shards, num_bytes)
        ends = itertools.accumulate(shard.records for shard in shards)
        starts = {s.file: end - s.records for s, end in zip(shards, ends, strict=True)}

        def fetch(shard: Shard, inside: int) -> Callable[[], Buffer]:
            future = array[starts[shard.file] + inside].read()
            return lambda: _record(future, files.path(folder) / shard.file)

        return fetch


class ZarrShard:
    """Kept in memory until it is whole."""

    def __init__(
        self, folder: files.PathLike, split: str, number: int, records_per_shard: int
    ):
        self._folder, self._split, self._number = folder, split, number
        self._records_per_shard = records_per_shard
        self._records: list[bytes] = []

    @property
    def records(self) -> int:
        return len(self._records)

    def add(self, record: bytes) -> None:
        if (self.records + 1) * len(record) > MAX_SHARD_BYTES:
            raise UserError(
                f"prepare.records_per_shard is {self._records_per_shard}, but a shard "
                f"of zarr is put together in memory and {self.records} records of "
                f"{len(record) / 1e6:.1f} MB fill {MAX_SHARD_BYTES / 1e6:.0f} MB; "
                f"choose at most {self.records}"
            )
        self._records.append(record)

    def close(self) -> Shard:
        name = f"{self._split}{SUFFIX}/c/{self._number}/0"
        # The first shard tells how many records one has: see `_of_split`.
        size = self._records_per_shard if self._number else self.records
        data = _encode(self._records, size)
        files.write_bytes(files.path(self._folder) / name, data)
        return Shard(
            file=name,
            split=self._split,
            records=self.records,
            bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
        )

    def abandon(self) -> None:
        """Nothing is written yet."""


def _metadata(
    num_records: int, records_per_shard: int, num_bytes: int
) -> dict[str, Any]:
    """`zarr.json` of an array of records of `num_bytes`."""
    crc = {"name": "crc32c"}
    index = {"name": "bytes", "configuration": {"endian": "little"}}
    shards = {
        "chunk_shape": [1, num_bytes],
        "codecs": [{"name": "bytes"}, crc],
        "index_codecs": [index, crc],
        "index_location": "end",
    }
    return {
        "shape": [num_records, num_bytes],
        "data_type": "uint8",
        "dimension_names": ["record", "byte"],
        "chunk_grid": {
            "name": "regular",
            "configuration": {"chunk_shape": [records_per_shard, num_bytes]},
        },
        "codecs": [{"name": "sharding_indexed", "configuration": shards}],
    }


def _of_split(shards: Sequence[Shard], num_bytes: int) -> dict[str, Any]:
    """All shards but the last are as long as the first."""
    return _metadata(sum(s.records for s in shards), shards[0].records, num_bytes)


def _in_memory(metadata: dict[str, Any]) -> tuple[ts.TensorStore, ts.KvStore]:
    """A new array that nobody else sees, and the objects it consists of."""
    spec = {"driver": "zarr3", "kvstore": "memory://", "metadata": metadata}
    array = ts.open(spec, create=True, context=ts.Context()).result()
    assert array.kvstore is not None
    return array, array.kvstore


def _encode(rows: Sequence[bytes], records_per_shard: int) -> bytes:
    """The object that TensorStore makes of a shard's records."""
    values = np.stack([np.frombuffer(row, np.uint8) for row in rows])
    metadata = _metadata(len(rows), records_per_shard, values.shape[1])
    array, objects = _in_memory(metadata)
    array.write(values).result()
    return objects["c/0/0"]


def _open(
    folder: files.PathLike, shards: Sequence[Shard], num_bytes: int
) -> ts.TensorStore:
    """The array of a split; DataError unless it is the one of the manifest."""
    url = f"{files.absolute(folder)}/{shards[0].split}{SUFFIX}"
    spec = {
        "driver": "zarr3",
        "kvstore": buckets.kvstore_spec(f"{url}/"),
        "metadata": _of_split(shards, num_bytes),
        "fill_missing_data_reads": False,  # a lost record must not read as zeros
        "recheck_cached_data": "open",  # a dataset never changes while it is read
    }
    future = ts.open(spec, open=True, read=True, context=buckets.context())
    try:
        return future.result()
    except ValueError as error:
        if not str(error).startswith(DAMAGE):
            raise buckets.failure(error, "read", url) from error
        raise DataError(
            f"{url}/zarr.json is missing or not that of the manifest "
            f"({_reason(error)}); copy it again or {REMEDY}"
        ) from error


def _record(future: Any, url: files.PathLike) -> Buffer:
    try:
        return memoryview(future.result())
    except ValueError as error:
        if not str(error).startswith(DAMAGE):
            raise buckets.failure(error, "read", os.fspath(url)) from error
        raise ValueError(f"is corrupt ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    """TensorStore's own words, without status and attributes."""
    return str(error).partition(": ")[2].partition(" [")[0]
