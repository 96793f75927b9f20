"""An S3 server on loopback, in a process of its own: moto's."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

import pytest

from dit_jax import buckets

BUCKET = "clips"
# It ends when its input does: also with a parent that was killed.
PROGRAM = """
import os, sys, threading
from moto.server import main
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
main(["-p", sys.argv[1]])
"""
KEYS = {"AWS_ACCESS_KEY_ID": "someone", "AWS_SECRET_ACCESS_KEY": "secret"}


@contextlib.contextmanager
def serve() -> Iterator[str]:
    """The endpoint of a server with one empty bucket, `clips`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    endpoint = f"http://127.0.0.1:{port}"
    try:
        _wait(server, port)
        ask(endpoint, f"/{BUCKET}", method="PUT")
        yield endpoint
    finally:
        server.terminate()
        server.wait()


def ask(endpoint: str, path: str, *, method: str, data: bytes | None = None) -> None:
    plain = {"Content-Type": "application/octet-stream"}
    request = urllib.request.Request(endpoint + path, data, plain, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200


def environment(endpoint: str) -> dict[str, str]:
    return KEYS | {"AWS_ENDPOINT_URL": endpoint}


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    pytest.importorskip("moto")
    with serve() as endpoint:
        yield endpoint


@pytest.fixture
def s3(s3_endpoint, monkeypatch, request) -> Iterator[str]:
    """The URL of an empty folder on a server that this process talks to."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in environment(s3_endpoint).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(buckets, "RETRIES", QUICK)
    buckets.context.cache_clear()  # of credentials, retries and what was read
    yield f"s3://{BUCKET}/{request.node.name}"
    ask(s3_endpoint, "/moto-api/reset-auth", method="POST", data=b"inf")
    buckets.context.cache_clear()


QUICK = {"max_retries": 2, "initial_delay": "10ms", "max_delay": "10ms"}


def _wait(server: subprocess.Popen, port: int, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        time.sleep(0.05)
    raise RuntimeError(f"moto's server does not start (exit code {server.poll()})")
