"""Writes a latent dataset: shards, each whole or not at all, the manifest last. Shard k
of a split holds its records [k R, (k + 1) R), whoever writes it.

The first write of all is the marker `.unfinished`, and the last act is to remove it:
only in a folder that has it is anything deleted or overwritten."""

import re
from types import TracebackType

from dit_jax import files
from dit_jax.data import manifest as manifest_lib
from dit_jax.data.manifest import FIRST_STORE, Manifest, Shard
from dit_jax.data.stores import STORES, ShardWriter, choose_store
from dit_jax.errors import UserError

MARKER = ".unfinished"
OURS = [re.compile(r"(\.unfinished|\.tmp-.*|codec)$")]


def require_vacant(folder: files.PathLike) -> None:
    """Refuses a folder that is neither empty nor an unfinished dataset of ours."""
    found = files.path(folder)
    if files.is_local(folder) and found.exists() and not found.is_dir():
        raise UserError(f"{str(found)!r} is a file; choose a folder")
    if manifest_lib.exists(folder):
        raise UserError(
            f"{str(found)!r} already holds a dataset; choose another folder or "
            "delete it"
        )
    names = files.children(folder)
    if MARKER in names:  # we began this folder
        ours = OURS + [store.names for store in STORES.values()]
        names = [name for name in names if not any(p.match(name) for p in ours)]
    if names:
        raise UserError(
            f"{str(found)!r} already holds other files, such as {names[0]!r}; choose "
            "an empty folder or a new one"
        )


def require_records_per_shard(records_per_shard: int) -> None:
    if records_per_shard < 1:
        raise UserError(
            f"prepare.records_per_shard is {records_per_shard}; choose 1 or more"
        )


class Writer:
    """`with Writer(folder, records_per_shard=...) as w: w.add(split, bytes) ...;
    w.finish(...)`. Without `finish` the folder is no dataset."""

    def __init__(
        self,
        folder: files.PathLike,
        *,
        records_per_shard: int,
        store: str = FIRST_STORE,
    ):
        require_records_per_shard(records_per_shard)
        self._store = choose_store(store, folder)
        require_vacant(folder)
        self._folder = files.make_folder(folder)
        self._records_per_shard = records_per_shard
        self._num_bytes = 0
        self._open: dict[str, ShardWriter] = {}
        self._done: list[Shard] = []
        _begin(folder)

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
        self._num_bytes = self._num_bytes or len(record)
        assert len(record) == self._num_bytes, (len(record), self._num_bytes)
        if split not in self._open:
            self._open[split] = self._store.shard(
                self._folder, split, len(self._shards(split)), self._records_per_shard
            )
        self._open[split].add(record)
        if self._open[split].records == self._records_per_shard:
            self._done.append(self._open.pop(split).close())

    def finish(self) -> tuple[Shard, ...]:
        """Closes all shards; put them into the manifest and write that."""
        for split in list(self._open):
            self._done.append(self._open.pop(split).close())
        for split in {shard.split for shard in self._done}:
            self._store.finish(self._folder, self._shards(split), self._num_bytes)
        return tuple(self._done)

    def _shards(self, split: str) -> list[Shard]:
        return [shard for shard in self._done if shard.split == split]


def commit(folder: files.PathLike, manifest: Manifest) -> None:
    """Makes the folder a dataset: the last write of all."""
    manifest_lib.write(folder, manifest)
    files.remove(files.path(folder) / MARKER)


def _begin(folder: files.PathLike) -> None:
    """Sets the marker, and deletes what a killed writer left behind an earlier one."""
    files.write_bytes(files.path(folder) / MARKER, b"")
    for name in files.children(folder):
        if name != MARKER:
            files.remove(files.path(folder) / name)
