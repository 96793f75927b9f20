"""One example as bytes: the tensors of a safetensors file, checked by a field table."""

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy

from dit_jax.errors import choose

# numpy dtype -> the name safetensors gives it. bfloat16 comes from ml_dtypes, which
# `safetensors.numpy` writes but does not read.
DTYPES = {
    "float32": (np.dtype(np.float32), "F32"),
    "bfloat16": (np.dtype(ml_dtypes.bfloat16), "BF16"),
    "float16": (np.dtype(np.float16), "F16"),
    "int32": (np.dtype(np.int32), "I32"),
    "uint8": (np.dtype(np.uint8), "U8"),
}
LATENTS = "latents"
LATENT_DTYPES = ("float32", "bfloat16")


@dataclasses.dataclass(frozen=True)
class Field:
    """dtype and shape of one tensor of every record of a dataset."""

    dtype: str
    shape: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        return {"dtype": self.dtype, "shape": list(self.shape)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Field":
        return cls(str(value["dtype"]), tuple(value["shape"]))


Fields = Mapping[str, Field]
Buffer = bytes | memoryview


def require_latent_dtype(dtype: str) -> None:
    choose(dict.fromkeys(LATENT_DTYPES), dtype, "prepare.latent_dtype")


def latent_fields(
    shape: tuple[int, int, int, int], *, dtype: str, has_label: bool
) -> dict[str, Field]:
    """The table of a dataset of clips: latents [T, H, W, C] raw, and where from."""
    require_latent_dtype(dtype)
    label = {"label": Field("int32", ())} if has_label else {}
    return {
        LATENTS: Field(dtype, shape),
        "example_id": Field("int32", ()),
        **label,
        "source": Field("int32", ()),
        "start_frame": Field("int32", ()),
        "fps": Field("float32", ()),
    }


def text_fields(length: int, dims: int) -> dict[str, Field]:
    """What records hold of their caption: tokens [L, E], where there is one, pooled.

    float16 keeps three digits, and halves the bytes of what is as large as latents.
    """
    return {
        "text": Field("float16", (length, dims)),
        "text_mask": Field("int32", (length,)),
        "pooled": Field("float32", (dims,)),
    }


def pack(record: Mapping[str, Any], fields: Fields) -> bytes:
    """The bytes of one record; values are cast to the table's dtypes."""
    assert record.keys() == fields.keys(), (sorted(record), sorted(fields))
    tensors = {}
    for name, field in fields.items():
        value = np.asarray(record[name]).astype(DTYPES[field.dtype][0])
        assert value.shape == field.shape, (name, value.shape, field.shape)
        tensors[name] = np.asarray(value, order="C")  # 0-d stays 0-d
    return safetensors.numpy.save(tensors)


def unpack(data: bytes, fields: Fields) -> dict[str, np.ndarray]:
    """The tensors of one record. ValueError when they are not those of the table."""
    try:
        tensors = dict(safetensors.deserialize(data))
    except safetensors.SafetensorError as error:
        raise ValueError(f"is not a record ({error})") from error
    if tensors.keys() != fields.keys():
        raise ValueError(f"has fields {sorted(tensors)}, wanted {sorted(fields)}")
    return {name: _read(name, tensors[name], field) for name, field in fields.items()}


class Format:
    """What all records of a table share: their length and their header. So a record is
    read without parsing its header, and without copying its bytes."""

    def __init__(self, fields: Fields):
        zeros = pack({n: np.zeros(f.shape) for n, f in fields.items()}, fields)
        start = 8 + int.from_bytes(zeros[:8], "little")
        places = json.loads(zeros[8:start])
        self.num_bytes = len(zeros)
        self._fields, self._header = fields, zeros[:start]
        self._starts = {n: start + places[n]["data_offsets"][0] for n in fields}

    def unpack(self, data: Buffer) -> dict[str, np.ndarray]:
        """As `unpack`; the arrays look at `data`."""
        if bytes(data[: len(self._header)]) != self._header:
            return unpack(bytes(data), self._fields)  # says what is wrong
        if len(data) != self.num_bytes:
            raise ValueError(f"has {len(data)} bytes, wanted {self.num_bytes}")
        return {name: self._look(name, data) for name in self._fields}

    def _look(self, name: str, data: Buffer) -> np.ndarray:
        field, start = self._fields[name], self._starts[name]
        dtype, count = DTYPES[field.dtype][0], math.prod(field.shape)
        value = np.frombuffer(data, dtype, count, start).reshape(field.shape)
        return _checked(name, value)


def _read(name: str, tensor: Mapping[str, Any], field: Field) -> np.ndarray:
    dtype, short = DTYPES[field.dtype]
    found = (tensor["dtype"], tuple(tensor["shape"]))
    if found != (short, field.shape):
        raise ValueError(f"has {name} of {found}, wanted {(short, field.shape)}")
    value = np.frombuffer(tensor["data"], dtype).reshape(field.shape)
    return _checked(name, value)


def _checked(name: str, value: np.ndarray) -> np.ndarray:
    # float32 first: ml_dtypes looks at one number after another, numpy at many.
    if name == LATENTS and not np.isfinite(value.astype(np.float32, copy=False)).all():
        raise ValueError(f"has {name} that are not finite")
    return value
