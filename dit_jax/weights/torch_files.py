"""Torch's `.pt` files, read by the allow-list machine of `arrays_only`.

Such a file is a zip without compression: `NAME/data.pkl`, a pickle in which a tensor is
a call of `torch._utils._rebuild_tensor_v2` on a reference to a storage, and
`NAME/data/KEY`, the bytes of each storage. Torch itself is neither needed nor imported.
"""

import io
import math
import zipfile
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from dit_jax import files
from dit_jax.errors import DataError
from dit_jax.weights import arrays_only
from dit_jax.weights.arrays_only import Name, Unfinished

STORAGES: dict[str, Any] = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}
ZIP = b"PK"
BEFORE_ZIP = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # torch before 1.6


def load(name: files.PathLike) -> Any:
    """The tree of arrays in a `.pt` file, or in a plain pickle of numpy arrays.

    DataError names what was refused; nothing of the file is ever run.
    """
    with files.path(name).open("rb") as file:
        start = file.read(len(BEFORE_ZIP))
    if start == BEFORE_ZIP:
        raise DataError(
            f"{name} was not read: it has the format of torch before 1.6; save it "
            "again with a newer torch, or as safetensors"
        )
    if not start.startswith(ZIP):
        return arrays_only.load(name)
    try:
        with files.path(name).open("rb") as file, zipfile.ZipFile(file) as archive:
            return _read(archive)
    except (DataError, zipfile.BadZipFile, EOFError) as error:
        raise DataError(f"{name} was not read: {error}") from error


def loads(data: bytes) -> Any:
    """The same from the bytes of a zip."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return _read(archive)


def _read(archive: zipfile.ZipFile) -> Any:
    pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise DataError("it is a zip without the one data.pkl of a torch file")
    folder = pickles[0].removesuffix("data.pkl")
    order = f"{folder}byteorder"
    if order in archive.namelist() and _content(archive, order) != b"little":
        raise DataError("numbers of another byte order than little were refused")
    return arrays_only.loads(
        _content(archive, pickles[0]), NAMES, _storages(archive, folder)
    )


def _storages(archive: zipfile.ZipFile, folder: str) -> Callable[[Any], "_Storage"]:
    read: dict[str, np.ndarray] = {}  # tensors may share a storage

    def storage(reference: Any) -> _Storage:
        kind, key, size = _parse(reference)
        if key not in read:
            content = _content(archive, f"{folder}data/{key}")
            dtype = np.dtype(STORAGES[kind])
            if len(content) != size * dtype.itemsize:
                raise DataError(
                    f"storage {key} holds {len(content)} bytes, not "
                    f"{size * dtype.itemsize}"
                )
            read[key] = np.frombuffer(content, dtype)
        return _Storage(read[key])

    return storage


def _parse(reference: Any) -> tuple[str, str, int]:
    """(kind, key, number of elements) of `("storage", kind, key, device, size)`."""
    if not isinstance(reference, tuple) or len(reference) != 5:
        raise DataError("a reference that is no storage was refused")
    what, kind, key, _device, size = reference
    is_known = isinstance(kind, Name) and kind.module == "torch"
    if what != "storage" or not is_known or kind.name not in STORAGES:
        raise DataError(f"a storage of kind {kind!r} was refused")
    if not (isinstance(key, str) and key.isalnum() and type(size) is int):
        raise DataError(f"storage {key!r} of size {size!r} was refused")
    return kind.name, key, size


def _content(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise DataError(f"{name} is missing in the zip") from None
    if info.compress_type != zipfile.ZIP_STORED:
        raise DataError(f"{name} is compressed, which torch never does")
    if info.flag_bits & 1:
        raise DataError(f"{name} is encrypted, which torch never does")
    return archive.read(info)


class _Storage(Unfinished):
    """A flat array that tensors are cut from."""

    def __init__(self, values: np.ndarray):
        self.values = values

    def build(self, state: Any) -> None:
        raise DataError("setting attributes of a storage was refused")


def _tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, *_autograd: Any
) -> np.ndarray:
    if not isinstance(storage, _Storage):
        raise DataError("a tensor without a storage was refused")
    numbers = (offset, *shape, *strides)
    if len(shape) != len(strides) or not all(
        type(number) is int and number >= 0 for number in numbers
    ):
        raise DataError(f"a tensor of shape {shape!r}, strides {strides!r} was refused")
    size = storage.values.size
    pairs = zip(shape, strides, strict=True)
    last = offset + sum((length - 1) * stride for length, stride in pairs)
    count = math.prod(shape)
    if count > size or (count and last >= size):
        raise DataError(
            f"a tensor of shape {shape}, strides {strides} does not fit its storage of "
            f"{size} numbers"
        )
    if not count:
        return np.zeros(shape, storage.values.dtype)
    width = storage.values.itemsize
    return np.lib.stride_tricks.as_strided(
        storage.values[offset:],
        shape,
        [stride * width for stride in strides],
        writeable=False,
    )


def _parameter(value: Any, *_autograd: Any) -> Any:
    return value


class _Ordered(dict, Unfinished):
    """A state dict; what torch hangs on it (`_metadata`) is dropped."""

    def build(self, state: Any) -> None:
        del state


class _Namespace(dict, Unfinished):
    """The arguments of a training, which its authors store beside the weights."""

    def build(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise DataError("a namespace that is no dict was refused")
        self.update(state)


def _empty(kind: type[dict]) -> Callable[..., dict]:
    def make(*arguments: Any) -> dict:
        if arguments:
            raise DataError("a dict made by a call with arguments was refused")
        return kind()

    return make


NAMES = arrays_only.ALLOWED | {
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("collections", "OrderedDict"): _empty(_Ordered),
    ("argparse", "Namespace"): _empty(_Namespace),
    **{("torch", kind): arrays_only.not_callable for kind in STORAGES},
}
