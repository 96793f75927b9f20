"""Reading at once: as much as is allowed, and no more."""

import http.server
import threading
import time
from functools import partial

import pytest

from dit_jax import buckets
from dit_jax.data.reader import Reader
from tests.s3_server import QUICK


class _Slow(http.server.BaseHTTPRequestHandler):
    """Serves a folder as a bucket, slowly, and counts who is served at once."""

    def __init__(self, folder, counts, *arguments):
        self.folder, self.counts = folder, counts
        super().__init__(*arguments)

    def do_GET(self):
        with self.counts["lock"]:
            self.counts["now"] += 1
            self.counts["most"] = max(self.counts["most"], self.counts["now"])
        time.sleep(0.02)
        with self.counts["lock"]:
            self.counts["now"] -= 1
        file = self.folder / self.path.removeprefix("/clips/data").lstrip("/")
        data = file.read_bytes() if file.is_file() else b"?"
        wanted = self.headers.get("Range", "bytes=0-").removeprefix("bytes=")
        first, _, last = wanted.partition("-")
        start = int(first) if first else len(data) - int(last)
        stop = int(last) + 1 if first and last else len(data)
        self.send_response(206 if "Range" in self.headers else 200)
        if "Range" in self.headers:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
        self.send_header("Content-Length", str(stop - start))
        self.send_header("ETag", '"0"')
        self.end_headers()
        self.wfile.write(data[start:stop])

    def log_message(self, *_):
        """Not to stderr."""


@pytest.mark.parametrize("limit", [1, 3])
def test_no_more_requests_are_under_way_than_allowed(
    make_dataset, tmp_path, monkeypatch, limit
):
    make_dataset("data", store="zarr")
    counts = {"lock": threading.Lock(), "now": 0, "most": 0}
    handler = partial(_Slow, tmp_path / "data", counts)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setattr(buckets, "REQUESTS", limit)
    monkeypatch.setattr(buckets, "RETRIES", QUICK)
    buckets.context.cache_clear()
    try:
        reader = Reader("s3://clips/data", "train")
        counts["most"] = 0
        assert reader.batch(range(16))["example_id"].tolist() == list(range(16))
        assert counts["most"] == limit
    finally:
        buckets.context.cache_clear()
        server.shutdown()
