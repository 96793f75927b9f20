"""Several processes as one run: joined by flags, or as their launcher says."""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from dit_jax.errors import UserError
from dit_jax.parallel import launchers
from dit_jax.parallel.launchers import Place

T = TypeVar("T")

TIMEOUT_S = 300  # pods of one job may start minutes apart


def place(
    coordinator_address: str | None, num_processes: int | None, process_id: int | None
) -> Place | None:
    """Where this process stands by flags and launcher; None: alone.

    A flag wins over what a launcher says. One process by flag and nothing else asks no
    launcher; neither do three flags.
    """
    told = (coordinator_address, num_processes, process_id)
    if None not in told:
        return Place(*told)
    if told == (None, 1, None):
        return None
    found = launchers.detect()
    if found is not None:
        return dataclasses.replace(
            found,
            coordinator_address=_or(coordinator_address, found.coordinator_address),
            num_processes=_or(num_processes, found.num_processes),
            process_id=_or(process_id, found.process_id),
        )
    if any(value is not None for value in told):
        names = ("coordinator_address", "num_processes", "process_id")
        missing = [n for n, v in zip(names, told, strict=True) if v is None]
        raise UserError(
            f"no launcher says what --{' and --'.join(missing)} would; give "
            "--coordinator_address, --num_processes and --process_id, or none of them"
        )
    return None


def _or(flag: T | None, launcher: T | None) -> T | None:
    return launcher if flag is None else flag


def join(
    place: Place, initialize: Callable[..., None] = jax.distributed.initialize
) -> Place:
    """Connects this process to the others; on CPU they talk through gloo.

    Returns the place with what the launcher's server told.
    """
    _check(place)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    settings: dict[str, Any] = {"initialization_timeout": TIMEOUT_S}
    if place.is_known:
        # Else JAX looks for a launcher and gives each process of Slurm a single GPU.
        settings["cluster_detection_method"] = "deactivate"
    if place.local_device_ids is not None:
        settings["local_device_ids"] = place.local_device_ids
    try:
        initialize(
            place.coordinator_address,
            place.num_processes,
            place.process_id,
            **settings,
        )
    except Exception as error:
        raise _cannot_join(place, error) from error
    if place.is_known:
        return place
    return dataclasses.replace(
        place, num_processes=jax.process_count(), process_id=jax.process_index()
    )


def _check(place: Place) -> None:
    index, count = place.process_id, place.num_processes
    if index is not None and count is not None and not 0 <= index < count:
        raise UserError(
            f"--process_id is {index}, but --num_processes={count} allows 0 to "
            f"{count - 1}; number the processes from 0"
        )
    if place.coordinator_address is not None:
        require_address(place.coordinator_address)


def _cannot_join(place: Place, error: Exception) -> Exception:
    if not place.is_known:
        text = (str(error).splitlines() or [type(error).__name__])[0]
        return UserError(
            f"{place.launcher} started this process, but what the others are is not "
            f"known ({text}); give --coordinator_address, --num_processes and "
            "--process_id, or --num_processes=1 for a process alone"
        )
    if not isinstance(error, RuntimeError):  # also jax.errors.JaxRuntimeError
        return error
    return OSError(
        f"process {place.process_id} could not join {place.coordinator_address} within "
        f"{TIMEOUT_S} s; start all {place.num_processes} processes and open that port"
    )


def require_address(address: str) -> None:
    """UserError unless it is HOST:PORT: the coordinator's own parser ends the process
    where a port is no number."""
    host, _, port = address.rpartition(":")
    is_number = port.isascii() and port.isdigit() and len(port) <= 5
    if not host or not is_number or not 0 < int(port) < 2**16:
        raise UserError(
            f"--coordinator_address is {address!r}; give HOST:PORT of process 0, with "
            "a port of 1 to 65535"
        )


def is_first() -> bool:
    return jax.process_index() == 0


def wait(name: str) -> None:
    """A barrier over all processes."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def require_same(what: str, value: int) -> None:
    """Refuses to run when processes were started with different values."""
    if jax.process_count() == 1:
        return
    values = np.asarray(multihost_utils.process_allgather(np.uint32(value)))
    if len(set(values.tolist())) > 1:
        raise UserError(
            f"processes differ in {what} ({values.tolist()}); start all of them with "
            "the same command"
        )
