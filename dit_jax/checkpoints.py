"""Named trees of arrays under `checkpoints/<step>/`, sharded, async, durable.

A folder `checkpoints/<step>` (unpadded) appears only when all of it is on disk. Knows
nothing of training: a checkpoint is a set of items, each a tree of arrays or JSON, and
each can be read alone and onto any mesh.
"""

from collections.abc import Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp

from dit_jax import files
from dit_jax.errors import DataError, StorageError, UserError

FOLDER = "checkpoints"


def has_any(workdir: files.PathLike) -> bool:
    """Whether a durable checkpoint is there, without opening anything."""
    folder = files.path(workdir) / FOLDER
    return folder.exists() and any(entry.name.isdigit() for entry in folder.iterdir())


class Checkpoints:
    """The checkpoints of one run folder. A writer keeps the `keep` newest ones; without
    `keep` it only reads."""

    def __init__(self, workdir: files.PathLike, *, keep: int | None = None):
        self.folder = files.path(files.absolute(workdir)) / FOLDER
        is_writer = keep is not None
        # A reader must not clean up what another process is just saving.
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            cleanup_tmp_directories=is_writer,
            create=is_writer,
            read_only=not is_writer,
        )
        self.manager = ocp.CheckpointManager(
            self.folder, options=options, handler_registry=_handlers()
        )

    def latest(self) -> int | None:
        return self.manager.latest_step()

    def steps(self) -> list[int]:
        return sorted(self.manager.all_steps())

    def save(
        self, step: int, trees: Mapping[str, Any], facts: Mapping[str, Any]
    ) -> None:
        """Starts an async save; a failure of the one before surfaces here."""
        items = {name: ocp.args.PyTreeSave(tree) for name, tree in trees.items()}
        items["facts"] = ocp.args.JsonSave(dict(facts))
        try:
            self.manager.save(step, args=ocp.args.Composite(**items), force=True)
        except (OSError, ValueError) as error:
            raise self._storage_error(error) from error

    def wait(self) -> None:
        """Until the last save is durable."""
        try:
            self.manager.wait_until_finished()
        except (OSError, ValueError) as error:
            raise self._storage_error(error) from error

    def restore(self, step: int, name: str, abstract: Any) -> Any:
        """One item; `abstract` leaves carry shape, dtype and the wanted sharding."""
        args = ocp.args.Composite(**{name: ocp.args.StandardRestore(abstract)})
        try:
            return self.manager.restore(step, args=args)[name]
        except (ValueError, KeyError, OSError) as error:
            raise DataError(
                f"{self.folder / str(step)} cannot be read as {name!r} "
                f"({_first_line(error)}); use another step or the config it was "
                "trained with"
            ) from error

    def facts(self, step: int) -> dict[str, Any]:
        args = ocp.args.Composite(facts=ocp.args.JsonRestore())
        return self.manager.restore(step, args=args)["facts"]

    def shapes(self, step: int, name: str) -> dict[str, tuple[int, ...]]:
        """`{path: shape}` of a stored tree, without reading it."""
        folder = self.folder / str(step) / name
        with ocp.StandardCheckpointer() as reader:
            metadata = reader.metadata(folder)
        tree = getattr(metadata, "item_metadata", metadata)
        tree = getattr(tree, "tree", tree)
        if tree is None:
            raise DataError(f"{folder} has no metadata; use another step")
        flat, _ = jax.tree_util.tree_flatten_with_path(tree)
        return {
            jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape)
            for path, leaf in flat
        }

    def choose(self, step: int | None) -> int:
        """`step`, or the newest one; refuses what does not exist."""
        steps = self.steps()
        if not steps:
            raise UserError(
                f"{self.folder} holds no checkpoint; train first or give another run"
            )
        if step is not None and step not in steps:
            raise UserError(
                f"{self.folder} has no step {step}; choose one of "
                f"{', '.join(map(str, steps))}"
            )
        return steps[-1] if step is None else step

    def close(self) -> None:
        self.wait()
        try:
            self.manager.close()
        except (OSError, ValueError) as error:
            raise self._storage_error(error) from error

    def _storage_error(self, error: Exception) -> StorageError:
        return StorageError(
            f"checkpoint in {self.folder} failed ({_first_line(error)}); the newest "
            "durable step is kept; free space or check the storage, then start again"
        )


def _handlers() -> ocp.handlers.DefaultCheckpointHandlerRegistry:
    """Orbax's own, but trees are written without compression.

    Zstandard takes 8 % off noise-like floats, at twice the time of a save and of a
    restore; it notices no flipped bit either. What is compressed is read as before.
    """
    registry = ocp.handlers.DefaultCheckpointHandlerRegistry()
    trees = ocp.PyTreeCheckpointHandler(use_compression=False)
    registry.add(None, ocp.args.PyTreeSave, trees)
    return registry


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
