"""Several processes as one run: joined through explicit coordinator flags."""

import jax
import numpy as np
from jax.experimental import multihost_utils

from dit_jax.errors import UserError

TIMEOUT_S = 120


def join(coordinator_address: str, num_processes: int, process_id: int) -> None:
    """Connects this process to the others; on CPU they talk through gloo."""
    if not 0 <= process_id < num_processes:
        raise UserError(
            f"--process_id is {process_id}, but --num_processes={num_processes} allows "
            f"0 to {num_processes - 1}; number the processes from 0"
        )
    require_address(coordinator_address)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(
            coordinator_address,
            num_processes,
            process_id,
            initialization_timeout=TIMEOUT_S,
        )
    except (RuntimeError, jax.errors.JaxRuntimeError) as error:
        raise OSError(
            f"process {process_id} could not join {coordinator_address} within "
            f"{TIMEOUT_S} s; start all {num_processes} processes and open that port"
        ) from error


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
