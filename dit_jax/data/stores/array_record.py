"""Records in ArrayRecord files: one a chunk, so that one flipped bit costs one record;
uncompressed, since latents do not compress. On file systems only."""

import os
import re
from collections.abc import Callable, Sequence

from array_record.python import array_record_module

from dit_jax import files
from dit_jax.data.manifest import REMEDY, Shard
from dit_jax.data.records import Buffer
from dit_jax.errors import DataError, StorageError

OPTIONS = "group_size:1,uncompressed"
# Records are read in shuffled order: reading ahead would be waste.
READ_OPTIONS = "readahead_buffer_size:0"
TEMPORARY = ".tmp-"


class ArrayRecords:
    remote = False
    names = re.compile(r"\w+-\d{5}\.array_record$")

    def shard(
        self, folder: files.PathLike, split: str, number: int, records_per_shard: int
    ) -> "ArrayRecordShard":
        return ArrayRecordShard(folder, split, number)

    def finish(
        self, folder: files.PathLike, shards: Sequence[Shard], num_bytes: int
    ) -> None:
        """Shards are all there is."""

    def open(
        self, folder: files.PathLike, shards: Sequence[Shard], num_bytes: int
    ) -> Callable[[Shard, int], Callable[[], Buffer]]:
        readers = {shard.file: _open(folder, shard) for shard in shards}
        # Read at once: a thread of its own would cost more than a record does.
        return lambda shard, inside: _read(readers[shard.file], inside)


class ArrayRecordShard:
    """Written under a temporary name, then renamed."""

    def __init__(self, folder: files.PathLike, split: str, number: int):
        self.records = 0
        self._split = split
        self._name = f"{split}-{number:05d}.array_record"
        self._file = files.path(folder) / self._name
        self._temporary = files.path(folder) / f"{TEMPORARY}{self._name}"
        self._writer = array_record_module.ArrayRecordWriter(
            str(self._temporary), OPTIONS
        )

    def add(self, record: bytes) -> None:
        try:
            self._writer.write(record)
        except RuntimeError as error:
            raise self._failed(error) from error
        self.records += 1

    def close(self) -> Shard:
        try:
            self._writer.close()
            with open(self._temporary, "rb") as file:
                os.fsync(file.fileno())
            found = Shard(
                file=self._name,
                split=self._split,
                records=self.records,
                bytes=self._temporary.stat().length,
                sha256=files.sha256(self._temporary),
            )
            self._temporary.rename(self._file)
        except (RuntimeError, OSError) as error:
            raise self._failed(error) from error
        return found

    def abandon(self) -> None:
        if self._writer.is_open():
            self._writer.close()
        self._temporary.unlink(missing_ok=True)

    def _failed(self, error: Exception) -> StorageError:
        if isinstance(error, OSError):
            return files.storage_error(error, self._temporary)
        return StorageError(
            f"cannot write {str(self._file)!r} ({error}); check the disk"
        )


def _open(
    folder: files.PathLike, shard: Shard
) -> array_record_module.ArrayRecordReader:
    try:
        reader = array_record_module.ArrayRecordReader(
            str(files.path(folder) / shard.file), READ_OPTIONS
        )
        count = reader.num_records()
    except RuntimeError as error:
        raise DataError(
            f"shard {shard.file} of {folder} does not open ({error}); {REMEDY}"
        ) from error
    if count != shard.records:  # a truncated file opens as one of 0 records
        raise DataError(
            f"shard {shard.file} of {folder} has {count} records, wanted "
            f"{shard.records}; it is cut, copy it again or {REMEDY}"
        )
    return reader


def _read(
    reader: array_record_module.ArrayRecordReader, inside: int
) -> Callable[[], Buffer]:
    def wait() -> Buffer:
        try:
            (data,) = reader.read([inside])
        except RuntimeError as error:
            raise ValueError(f"is corrupt ({error})") from error
        return data

    return wait
