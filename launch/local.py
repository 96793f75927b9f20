"""Runs one program as N processes on this machine, joined over loopback.

    python launch/local.py --num_processes 2 -- \
        python -m dit_jax.train --config configs/demo.py --workdir runs/two

Every line is prefixed with the process it comes from. The first process that fails
stops the others, and its exit code is ours; SIGINT and SIGTERM go to all of them.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

GRACE_S = 30  # between asking the others to stop and killing them


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num_processes", type=int, default=2)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    command = [part for part in arguments.command if part != "--"]
    if not command or arguments.num_processes < 1:
        parser.error("give --num_processes of at least 1 and a command after --")
    return run(command, arguments.num_processes)


def run(command: Sequence[str], num_processes: int) -> int:
    """The exit code of the first process that fails, else 0."""
    address = f"127.0.0.1:{free_port()}"
    processes = [
        start(command, address, num_processes, index) for index in range(num_processes)
    ]
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda n, _: [p.send_signal(n) for p in processes])
    readers = [
        threading.Thread(target=relay, args=(index, process), daemon=True)
        for index, process in enumerate(processes)
    ]
    for reader in readers:
        reader.start()
    code = wait(processes)
    for reader in readers:
        reader.join()
    return code


def start(
    command: Sequence[str], address: str, num_processes: int, index: int
) -> subprocess.Popen:
    joining = [
        f"--coordinator_address={address}",
        f"--num_processes={num_processes}",
        f"--process_id={index}",
    ]
    return subprocess.Popen(
        [*command, *joining],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        start_new_session=True,  # a Ctrl-C reaches them once, through us
    )


def relay(index: int, process: subprocess.Popen) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        print(f"[{index}] {line}", end="", flush=True)


def wait(processes: Sequence[subprocess.Popen]) -> int:
    """Until all have ended; a failure stops the rest after a grace time."""
    code, deadline = 0, None
    while any(process.poll() is None for process in processes):
        failed = [p.returncode for p in processes if p.poll() not in (None, 0)]
        if failed and deadline is None:
            code, deadline = failed[0], time.monotonic() + GRACE_S
            stop(processes, signal.SIGTERM)
        if deadline is not None and time.monotonic() > deadline:
            stop(processes, signal.SIGKILL)
        time.sleep(0.1)
    return code or next((p.returncode for p in processes if p.returncode), 0)


def stop(processes: Sequence[subprocess.Popen], number: int) -> None:
    for process in processes:
        if process.poll() is None:
            process.send_signal(number)


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


if __name__ == "__main__":
    sys.exit(main())
