"""Files of named parameters: which of the formats it is, and where in it they lie."""

from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy
from jaxtyping import Shaped

from dit_jax import files
from dit_jax.errors import DataError, UserError
from dit_jax.weights import torch_files

Named = Mapping[str, Shaped[np.ndarray, "..."]]
SAFETENSORS = ".safetensors"
# Where trainings put their weights, the better ones first.
NESTS = ("ema", "model_ema", "state_dict", "model", "module")
WRAPPERS = ("_orig_mod.", "module.")  # of torch.compile and of data parallelism
DTYPES: dict[str, Any] = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


def read(name: files.PathLike) -> tuple[Named, str]:
    """(parameters by name, where in the file they lay: `ema`, `ema/model` or "").

    UserError for a file that is not there or of an unknown ending, DataError for one
    that is damaged, holds more than arrays, or no parameters.
    """
    file = files.require(name, "weight file", "give --input=FILE")
    if file.suffix not in READERS:
        raise UserError(
            f"weight file {str(name)!r} ends in {file.suffix!r}; give one that ends in "
            f"{', '.join(READERS)}"
        )
    arrays, nest = unwrap(READERS[file.suffix](name))
    named = all(isinstance(key, str) for key in arrays)
    held = all(isinstance(value, np.ndarray) for value in arrays.values())
    if not (arrays and named and held):
        raise DataError(
            f"{name} holds no dict of parameters, bare or under {', '.join(NESTS)}; "
            "store the state dict in one of these ways"
        )
    for key, value in arrays.items():
        if value.dtype.kind in "fV" and not np.isfinite(value.astype(np.float32)).all():
            raise DataError(f"{name} holds {key} that is not finite; get it again")
    return _plain(arrays), nest


def _plain(arrays: dict[str, np.ndarray]) -> Named:
    """Names without what torch's wrappers put in front of all of them."""
    for prefix in WRAPPERS:
        if all(name.startswith(prefix) for name in arrays):
            arrays = {name.removeprefix(prefix): a for name, a in arrays.items()}
    return arrays


def unwrap(tree: Any) -> tuple[dict[str, Any], str]:
    """The innermost dict of parameters and the path to it. An EMA is preferred."""
    path: list[str] = []
    while isinstance(tree, dict):
        nests = [nest for nest in NESTS if isinstance(tree.get(nest), dict)]
        if not nests:
            return tree, "/".join(path)
        path.append(nests[0])
        tree = tree[nests[0]]
    return {}, "/".join(path)


def write(name: files.PathLike, arrays: Named) -> None:
    """A safetensors file, whole or not at all."""
    if files.path(name).suffix != SAFETENSORS:
        raise UserError(
            f"--output is {str(name)!r}; give a name ending in .safetensors"
        )
    # torch's own loader asks for this entry
    content = safetensors.numpy.save(dict(arrays), metadata={"format": "pt"})
    files.write_bytes(name, content)


def _read_safetensors(name: files.PathLike) -> dict[str, np.ndarray]:
    try:
        entries = safetensors.deserialize(files.read_bytes(name))
        return {key: _array(entry) for key, entry in entries}
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise DataError(
            f"{name} is no safetensors file ({error}); get the file again"
        ) from error


def _array(entry: Mapping[str, Any]) -> np.ndarray:
    dtype = DTYPES[entry["dtype"]]
    return np.frombuffer(entry["data"], dtype).reshape(entry["shape"])


READERS: dict[str, Callable[[files.PathLike], Any]] = {
    SAFETENSORS: _read_safetensors,
    ".pt": torch_files.load,
    ".pth": torch_files.load,
    ".ckpt": torch_files.load,
}
