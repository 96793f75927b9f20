"""Writes a latent dataset: shards under temporary names, then renamed, the manifest
last. Shard k of a split holds its records [k R, (k + 1) R), whoever writes it.

The first write of all is the marker `.unfinished`, and the last act is to remove it:
only in a folder that has it is anything deleted or overwritten."""

import os
import re
from types import TracebackType

from array_record.python import array_record_module
from etils import epath

from dit_jax import files
from dit_jax.data import manifest as manifest_lib
from dit_jax.data.manifest import Manifest, Shard
from dit_jax.errors import StorageError, UserError

# One record a chunk, so that one flipped bit costs one record; no compression, since
# latents do not compress.
OPTIONS = "group_size:1,uncompressed"
TEMPORARY = ".tmp-"
MARKER = ".unfinished"
OURS = re.compile(r"(\.unfinished|\.tmp-.*|\w+-\d{5}\.array_record|codec)$")


def require_vacant(folder: files.PathLike) -> None:
    """Refuses a folder that is neither empty nor an unfinished dataset of ours."""
    require_local(folder)
    found = files.path(folder)
    if not found.exists():
        return
    if not found.is_dir():
        raise UserError(f"{str(found)!r} is a file; choose a folder")
    if manifest_lib.exists(folder):
        raise UserError(
            f"{str(found)!r} already holds a dataset; choose another folder or "
            "delete it"
        )
    names = sorted(child.name for child in found.iterdir())
    if MARKER in names:  # we began this folder
        names = [name for name in names if not OURS.match(name)]
    if names:
        raise UserError(
            f"{str(found)!r} already holds other files, such as {names[0]!r}; choose "
            "an empty folder or a new one"
        )


def require_local(folder: files.PathLike) -> None:
    if not files.is_local(folder):
        raise UserError(
            f"dataset {str(folder)!r} is not on a file system, and ArrayRecord reads "
            "and writes files only; mount the bucket or copy the dataset"
        )


def require_records_per_shard(records_per_shard: int) -> None:
    if records_per_shard < 1:
        raise UserError(
            f"prepare.records_per_shard is {records_per_shard}; choose 1 or more"
        )


class Writer:
    """`with Writer(folder, records_per_shard=...) as w: w.add(split, bytes) ...;
    w.finish(...)`. Without `finish` the folder is no dataset."""

    def __init__(self, folder: files.PathLike, *, records_per_shard: int):
        require_records_per_shard(records_per_shard)
        require_vacant(folder)
        self._folder = files.make_folder(folder)
        self._records_per_shard = records_per_shard
        self._open: dict[str, _Shard] = {}
        self._done: list[Shard] = []
        _begin(self._folder)

    def __enter__(self) -> "Writer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for shard in self._open.values():
            shard.abandon()

    def add(self, split: str, record: bytes) -> None:
        """Appends one record to a split."""
        if split not in self._open:
            number = sum(shard.split == split for shard in self._done)
            self._open[split] = _Shard(self._folder, split, number)
        self._open[split].add(record)
        if self._open[split].records == self._records_per_shard:
            self._done.append(self._open.pop(split).close())

    def finish(self) -> tuple[Shard, ...]:
        """Closes all shards; put them into the manifest and write that."""
        for split in list(self._open):
            self._done.append(self._open.pop(split).close())
        return tuple(self._done)


class _Shard:
    def __init__(self, folder, split: str, number: int):
        self.records = 0
        self._folder, self._split = folder, split
        self._name = f"{split}-{number:05d}.array_record"
        self._temporary = folder / f"{TEMPORARY}{self._name}"
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
            self._temporary.rename(self._folder / self._name)
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
            f"cannot write {str(self._folder / self._name)!r} ({error}); check the disk"
        )


def commit(folder: files.PathLike, manifest: Manifest) -> None:
    """Makes the folder a dataset: the last write of all."""
    manifest_lib.write(folder, manifest)
    (files.path(folder) / MARKER).unlink(missing_ok=True)


def _begin(folder: epath.Path) -> None:
    """Sets the marker, and deletes what a killed writer left behind an earlier one."""
    marker = folder / MARKER
    try:
        marker.touch()
    except OSError as error:
        raise files.storage_error(error, marker) from error
    for child in folder.iterdir():
        if child != marker and child.is_file():
            child.unlink()
