"""Runs one program as N processes on this machine, joined over loopback.

    python launch/local.py --num_processes 2 -- \
        python -m dit_jax.train --config configs/demo.py --workdir runs/two

Every line is prefixed with the process it comes from. The first process that fails
stops the others, and its exit code is ours (128 + n where signal n killed it); SIGINT
and SIGTERM go to all of them. What stands behind the first `--` is the command.
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
from typing import NoReturn

GRACE_S = 30  # between asking the others to stop and killing them
BAD_FLAG = 64  # as the programs of dit_jax say it


class Parser(argparse.ArgumentParser):
    """One sentence and our exit code instead of a usage text and 2."""

    def error(self, message: str) -> NoReturn:
        print(f"error: {message}", file=sys.stderr)
        sys.exit(BAD_FLAG)


def main() -> int:
    parser = Parser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--num_processes", type=int, default=2)
    end = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    num_processes = parser.parse_args(sys.argv[1:end]).num_processes
    command = sys.argv[end + 1 :]
    if num_processes < 1:
        parser.error(f"--num_processes is {num_processes}; give at least 1")
    if not command:
        parser.error("there is no command; write it after the flags and --")
    try:
        return run(command, num_processes)
    except OSError as error:
        parser.error(
            f"{command[0]!r} does not start ({error.strerror}); check the command "
            "after --"
        )


def run(command: Sequence[str], num_processes: int) -> int:
    """The exit code of the first process that fails, else 0."""
    address = f"127.0.0.1:{free_port()}"
    processes: list[subprocess.Popen] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda n, _: stop(processes, n))
    try:
        for index in range(num_processes):
            processes.append(start(command, address, num_processes, index))
    except OSError:
        stop(processes, signal.SIGKILL)
        raise
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
        errors="replace",
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
    code = code or next((p.returncode for p in processes if p.returncode), 0)
    return code if code >= 0 else 128 - code  # as a shell says it


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
