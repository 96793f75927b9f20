"""Where records lie: a store writes shards of record bytes and reads them again.

A row of `STORES` is all that a new kind of store needs. What is the same in all of
them, order, manifest, the checks of sizes and hashes, does not know which one it is.
"""

import re
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from dit_jax import files
from dit_jax.data.manifest import Shard
from dit_jax.data.records import Buffer
from dit_jax.data.stores.array_record import ArrayRecords
from dit_jax.data.stores.zarr import Zarr
from dit_jax.errors import UserError, choose

Fetch = Callable[[Shard, int], Callable[[], Buffer]]


@runtime_checkable
class ShardWriter(Protocol):
    """Takes the records of one shard in order."""

    @property
    def records(self) -> int: ...

    def add(self, record: bytes) -> None: ...

    def close(self) -> Shard:
        """The shard appears in the folder, whole."""
        ...

    def abandon(self) -> None: ...


@runtime_checkable
class Store(Protocol):
    """A way to keep records. Errors: DataError names the shard, StorageError a disk or
    a bucket that fails."""

    remote: bool  # whether folders may be URLs
    names: re.Pattern[str]  # what it leaves in a dataset's folder

    def shard(
        self, folder: files.PathLike, split: str, number: int, records_per_shard: int
    ) -> ShardWriter: ...

    def finish(
        self, folder: files.PathLike, shards: Sequence[Shard], num_bytes: int
    ) -> None:
        """Writes what a split needs besides its shards; records have `num_bytes`."""
        ...

    def open(
        self, folder: files.PathLike, shards: Sequence[Shard], num_bytes: int
    ) -> Fetch:
        """Opens the shards of a split, whose sizes are right. `fetch(shard, inside)`
        begins to read a record and returns what waits for its bytes; that raises
        ValueError when the record is damaged. Threads may share it."""
        ...


STORES: dict[str, Store] = {"array_record": ArrayRecords(), "zarr": Zarr()}


def choose_store(name: str, folder: files.PathLike) -> Store:
    """The store of that name; UserError when it cannot keep `folder`."""
    store = choose(STORES, name, "prepare.store")
    if not (store.remote or files.is_local(folder)):
        raise UserError(
            f"dataset {str(folder)!r} is not on a file system, and ArrayRecord reads "
            "and writes files only; prepare it with --store zarr, mount the bucket or "
            "copy the dataset"
        )
    return store
