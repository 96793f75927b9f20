"""Every path we open ourselves: local or URL, written whole or not at all."""

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from etils import epath

from dit_jax import buckets
from dit_jax.errors import DataError, StorageError, UserError

PathLike = str | os.PathLike[str]


def path(name: PathLike) -> epath.Path:
    """`name` as a path; `~` is expanded, URLs such as gs:// are left as they are."""
    return epath.Path(name).expanduser()


def is_local(name: PathLike) -> bool:
    return "://" not in os.fspath(name)


def absolute(name: PathLike) -> str:
    """The path from the root, `~` expanded; a URL as it is."""
    if not is_local(name):
        return os.fspath(name)
    return os.path.abspath(os.path.expanduser(name))


def append_line(name: PathLike, line: str) -> None:
    """Adds one line to a local file."""
    try:
        with open(name, "a") as file:
            file.write(line + "\n")
    except OSError as error:
        raise storage_error(error, name) from error


def exists(name: PathLike) -> bool:
    url = _bucket_url(name)
    return path(name).exists() if url is None else buckets.exists(url)


def require(name: PathLike, what: str, remedy: str) -> epath.Path:
    """The path, or one sentence that says what is missing and what to do."""
    if not exists(name):
        raise UserError(f"{what} {os.fspath(name)!r} does not exist; {remedy}")
    return path(name)


def children(folder: PathLike) -> list[str]:
    """Names of what lies in a folder, sorted; none when there is no such folder."""
    url = _bucket_url(folder)
    if url is not None:
        return buckets.names(url)
    found = path(folder)
    return sorted(child.name for child in found.iterdir()) if found.exists() else []


def remove(name: PathLike) -> None:
    """Deletes a file, or a folder with all that is in it, if it is there."""
    url = _bucket_url(name)
    if url is not None:
        buckets.remove(url)
    elif path(name).is_dir():
        path(name).rmtree()
    else:
        path(name).unlink(missing_ok=True)


def read_bytes(name: PathLike) -> bytes:
    url = _bucket_url(name)
    data = path(name).read_bytes() if url is None else buckets.read(url)
    if data is None:
        raise FileNotFoundError(f"{url!r} does not exist")
    return data


def sizes(wanted: Mapping[str, int]) -> dict[str, int | str | None]:
    """Bytes of each file, None of a missing one. The value tells what to expect: of an
    object in a bucket that is shorter we only learn that it has "fewer"."""
    remote = {name: size for name, size in wanted.items() if buckets.is_bucket(name)}
    local = {name: _size(name) for name in wanted if name not in remote}
    return local | buckets.sizes(remote)


def read_json(name: PathLike) -> Any:
    """The parsed file; DataError when it is not JSON."""
    try:
        return json.loads(read_bytes(name))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(
            f"{os.fspath(name)} is not valid JSON ({error}); it was cut or edited, "
            "make it anew"
        ) from error


def write_bytes(name: PathLike, data: bytes) -> None:
    """Atomic: temp + fsync + rename locally, a single-object put remotely."""
    url = _bucket_url(name)
    if url is not None:
        buckets.write(url, data)
        return
    target = path(name)
    make_folder(target.parent)
    if not is_local(name):
        target.write_bytes(data)
        return
    try:
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".tmp-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, target)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise storage_error(error, name) from error


def write_json(name: PathLike, value: Any) -> None:
    write_bytes(name, (json.dumps(value, indent=2, sort_keys=True) + "\n").encode())


def make_folder(name: PathLike) -> epath.Path:
    """Creates a folder with its parents, where there are folders; a file in the way is
    named."""
    folder = path(name)
    if _bucket_url(name) is not None:
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(
            f"{os.fspath(name)!r} cannot be a folder because a file is in the way; "
            "choose another path"
        ) from error
    except OSError as error:
        raise storage_error(error, name) from error
    return folder


def storage_error(error: OSError, name: PathLike) -> StorageError:
    reason = {
        errno.ENOSPC: "the disk is full; free space",
        errno.EDQUOT: "the quota is used up; free space",
        errno.EROFS: "the file system is read-only; choose another path",
        errno.EACCES: "permission is denied; choose another path or its owner",
    }
    text = reason.get(error.errno or 0, f"{error.strerror or error}; check the storage")
    return StorageError(f"cannot write {os.fspath(name)!r}: {text}")


def require_free_space(name: PathLike, num_bytes: int, what: str) -> None:
    """Refuses to start what a local disk cannot hold."""
    if not is_local(name):
        return
    folder = Path(os.path.abspath(path(name)))
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < num_bytes:
        raise StorageError(
            f"{what} needs {num_bytes / 1e6:.0f} MB but {os.fspath(name)!r} has "
            f"{free / 1e6:.0f} MB free; free space or choose another path"
        )


def sha256(name: PathLike) -> str:
    """Hex digest of a file, read in pieces."""
    digest = hashlib.sha256()
    for piece in pieces(name):
        digest.update(piece)
    return digest.hexdigest()


def pieces(name: PathLike, size: int = 1 << 20) -> Iterator[bytes]:
    url = _bucket_url(name)
    if url is not None:
        yield from buckets.pieces(url)
        return
    with path(name).open("rb") as file:
        while piece := file.read(size):
            yield piece


def _bucket_url(name: PathLike) -> str | None:
    """The URL of what lies in a bucket that we reach ourselves."""
    url = os.fspath(name)
    return url if buckets.is_bucket(url) else None


def _size(name: str) -> int | None:
    return path(name).stat().length if path(name).exists() else None
