"""Objects in buckets, by URL: `s3://bucket/name` and `gs://bucket/name`.

TensorStore does the talking. S3 takes the usual variables: AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_PROFILE, AWS_REGION, and AWS_ENDPOINT_URL
for another server than Amazon's; Google takes GOOGLE_APPLICATION_CREDENTIALS or the
machine's account.
"""

import functools
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tensorstore as ts

from dit_jax.errors import StorageError, UserError

REQUESTS = 64  # under way at once in a process; enough to hide 30 ms behind 130 kB
OPEN_FILES = 16  # the same of local files
CACHE_BYTES = 1 << 26  # indices of shards, and records that were just read
# Half a minute in all: what is down for longer is for the launcher to requeue.
RETRIES = {"max_retries": 8, "initial_delay": "500ms", "max_delay": "8s"}
WHOLE = slice(None)
PIECE_BYTES = 1 << 24
REMEDIES = {
    "PERMISSION_DENIED": "check the credentials and what they may do",
    "UNAUTHENTICATED": "check the credentials",
    "RESOURCE_EXHAUSTED": "free space or raise the quota",
}


def is_bucket(url: str) -> bool:
    return url.partition("://")[0] in SCHEMES and "://" in url


@functools.cache
def context() -> ts.Context:
    """What all reads and writes of this process share: bounds, cache, retries."""
    return ts.Context(
        {
            "s3_request_concurrency": {"limit": REQUESTS},
            "gcs_request_concurrency": {"limit": REQUESTS},
            "file_io_concurrency": {"limit": OPEN_FILES},
            "s3_request_retries": RETRIES,
            "gcs_request_retries": RETRIES,
            "cache_pool": {"total_bytes_limit": CACHE_BYTES},
        }
    )


def kvstore_spec(url: str) -> dict[str, Any]:
    """TensorStore's key-value store whose keys go on from `url`, which may also be an
    absolute path of a file system."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return {"driver": "file", "path": url}
    bucket, _, path = rest.partition("/")
    if not bucket:
        raise UserError(f"{url!r} names no bucket; write {scheme}://BUCKET/NAME")
    return SCHEMES[scheme](bucket) | {"path": path}


def exists(url: str) -> bool:
    """Whether there is such an object, or one in such a folder."""
    is_bucket_itself = not kvstore_spec(url.rstrip("/"))["path"]
    is_object = not is_bucket_itself and read(url, slice(0, 1)) is not None
    return is_object or bool(names(url))


def read(url: str, part: slice = WHOLE) -> bytes | None:
    """The object, or some of its bytes (none where it ends before); None when there is
    no such object."""
    return _value(_open(url).read("", byte_range=part), url)


def pieces(url: str) -> Iterator[bytes]:
    """The object's bytes in order, a bounded number at a time."""
    start = 0
    # A range that goes over the end is refused: the last piece is asked without one.
    while piece := (
        read(url, slice(start, start + PIECE_BYTES)) or read(url, slice(start, None))
    ):
        yield piece
        start += len(piece)


def sizes(wanted: Mapping[str, int]) -> dict[str, int | str | None]:
    """Bytes of each object, asked all at once: see `files.sizes`."""
    # There is no cheaper question for a size: where the last byte is wanted there is
    # one, and none after it.
    ends = {
        url: _open(url).read("", byte_range=slice(size - 1, None))
        for url, size in wanted.items()
    }
    return {url: _size(_value(end, url), wanted[url]) for url, end in ends.items()}


def write(url: str, data: bytes) -> None:
    """A single put: whole or not at all."""
    _result(_open(url).write("", data), "write", url)


def names(folder: str) -> list[str]:
    """What lies directly in a folder, sorted; a folder's own name has no slash."""
    keys = _result(_open(folder, "/").list(), "list", folder)
    return sorted({key.decode().partition("/")[0] for key in keys})


def remove(url: str) -> None:
    """Deletes the object, and the folder of that name with all that is in it."""
    _result(_open(url).write("", None), "delete", url)
    _result(_open(url, "/").delete_range(ts.KvStore.KeyRange()), "delete", url)


def failure(error: Exception, verb: str, url: str) -> StorageError | UserError:
    """What TensorStore could not do, in one sentence."""
    status, _, text = str(error).partition(": ")
    if "Invalid" in status and "bucket name" in status:
        return UserError(f"{url!r} names no bucket ({status}); check the name")
    if "NoSuchBucket" in text or "bucket does not exist" in text:
        return UserError(
            f"the bucket of {url!r} does not exist; create it or check the name"
        )
    # What follows are attributes of the request.
    reason = text.partition(" [")[0] or status.partition(" [")[0]
    remedy = REMEDIES.get(status, "check the network, the endpoint and the storage")
    return StorageError(f"cannot {verb} {url!r} ({reason}); {remedy}")


def _s3(bucket: str) -> dict[str, Any]:
    spec: dict[str, Any] = {"driver": "s3", "bucket": bucket}
    variables = os.environ
    if "AWS_ACCESS_KEY_ID" in variables:  # the whole chain of sources says more on
        spec["aws_credentials"] = {"type": "environment"}  # stderr than a user needs
    endpoint = variables.get("AWS_ENDPOINT_URL_S3") or variables.get("AWS_ENDPOINT_URL")
    if endpoint:  # Amazon's own tells the region of a bucket
        region = variables.get("AWS_REGION") or variables.get("AWS_DEFAULT_REGION")
        spec |= {"endpoint": endpoint, "aws_region": region or "us-east-1"}
    return spec


def _gs(bucket: str) -> dict[str, Any]:
    return {"driver": "gcs", "bucket": bucket}


SCHEMES: dict[str, Callable[[str], dict[str, Any]]] = {"s3": _s3, "gs": _gs}


def _open(url: str, ending: str = "") -> ts.KvStore:
    spec = kvstore_spec(url.rstrip("/") + ending)
    try:
        return ts.KvStore.open(spec, context=context()).result()
    except ValueError as error:
        raise failure(error, "open", url) from error


def _result(future: Any, verb: str, url: str) -> Any:
    try:
        return future.result()
    except (ValueError, NotImplementedError) as error:
        raise failure(error, verb, url) from error


def _value(future: Any, url: str) -> bytes | None:
    try:
        found = future.result()
    except ValueError as error:
        if str(error).startswith("OUT_OF_RANGE"):
            return b""
        raise failure(error, "read", url) from error
    return found.value if found.state == "value" else None


def _size(end: bytes | None, wanted: int) -> int | str | None:
    """What there is from byte `wanted - 1` on tells the size, if there is anything."""
    return wanted - 1 + len(end) if end else ("fewer" if end == b"" else None)
