"""Torch files: what torch wrote is read as torch reads it, and nothing is ever run."""

import io
import os
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from dit_jax.errors import DataError
from dit_jax.weights import state_dicts, torch_files

CHECKPOINT = Path(__file__).parent / "torch_checkpoint.pt"


def test_a_checkpoint_of_torch_itself_is_read():
    """Written by torch 2.14.1: torch.save of a dict of a model's state, an `ema` of
    views of torch.arange(24.0).reshape(4, 6) and of other dtypes, AdamW's state after a
    step, and an argparse.Namespace."""
    tree = torch_files.load(CHECKPOINT)
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    wanted = {
        "plain": base,
        "transposed": base.T,
        "part": base[1:3, 2:4],
        "scalar": base[3, 5],
        "half": np.array([1.5, -2.0], np.float32),
        "long": np.array([1, 2**40]),
        "empty": np.zeros((0, 3), np.float32),
        "parameter": np.ones(2, np.float32),
    }
    assert list(tree["ema"]) == list(wanted)
    for name, value in wanted.items():
        assert tree["ema"][name].shape == value.shape
        np.testing.assert_array_equal(tree["ema"][name].astype(value.dtype), value)
    assert str(tree["ema"]["half"].dtype) == "bfloat16"
    assert tree["args"] == {"lr": 1e-4, "name": None}
    assert tree["opt"]["state"][0]["step"] == 1
    assert set(tree["model"]) == {"weight", "bias"}


def test_the_ema_is_preferred_and_named():
    arrays, nest = state_dicts.read(CHECKPOINT)
    assert nest == "ema" and "plain" in arrays


class Calls:
    """Pickles as a call of `function(*arguments)`."""

    def __init__(self, function, *arguments):
        self.parts = (function, arguments)

    def __reduce__(self):
        return self.parts


class Stored:
    """Pickles as a reference to a storage, the way torch writes it."""

    def __init__(self, kind, key, size, what="storage"):
        self.id = (what, kind, key, "cpu", size)


class TorchPickler(pickle.Pickler):
    def persistent_id(self, value):
        return value.id if isinstance(value, Stored) else None


@pytest.fixture
def torch(monkeypatch):
    """A module by the name of torch, with the names that its files mention."""
    stub, inner = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in ("FloatStorage", "LongStorage", "load"):
        setattr(stub, name, type(name, (), {"__module__": "torch"}))
    for name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
        function = lambda *a: None  # noqa: E731
        function.__module__, function.__qualname__ = "torch._utils", name
        setattr(inner, name, function)
    stub._utils = inner
    monkeypatch.setitem(sys.modules, "torch", stub)
    monkeypatch.setitem(sys.modules, "torch._utils", inner)
    return stub


def zipped(value, storages=None, compression=zipfile.ZIP_STORED, order=b"little"):
    content, archive = io.BytesIO(), io.BytesIO()
    TorchPickler(content, protocol=2).dump(value)
    with zipfile.ZipFile(archive, "w", compression) as file:
        file.writestr("archive/data.pkl", content.getvalue())
        file.writestr("archive/byteorder", order)
        for key, array in (storages or {}).items():
            file.writestr(f"archive/data/{key}", array.tobytes())
    return archive.getvalue()


def tensor(torch, shape, strides, *, offset=0, size=6, key="0", kind="FloatStorage"):
    storage = Stored(getattr(torch, kind), key, size)
    rebuild = torch._utils._rebuild_tensor_v2
    return Calls(rebuild, storage, offset, shape, strides, False, OrderedDict())


SIX = {"0": np.arange(6, dtype=np.float32)}


def test_the_forged_files_of_these_tests_are_read_where_they_are_honest(torch):
    tree = {"w": tensor(torch, (2, 2), (3, 1), offset=1)}
    found = torch_files.loads(zipped(tree, SIX))
    np.testing.assert_array_equal(found["w"], [[1, 2], [4, 5]])


@pytest.mark.parametrize("nested", [False, True], ids=["bare", "nested"])
@pytest.mark.parametrize("form", ["pickle", "zip"])
def test_a_call_of_the_system_is_refused_and_did_not_happen(form, nested, tmp_path):
    target = tmp_path / "made"
    attack = Calls(os.system, f"touch {target}")
    value = {"ema": {"weight": [attack]}} if nested else attack
    file = tmp_path / "evil.pt"
    file.write_bytes(pickle.dumps(value, 2) if form == "pickle" else zipped(value))
    with pytest.raises(DataError, match=r"evil.pt was not read: the name \w+.system"):
        state_dicts.read(file)
    assert not target.exists()
    pickle.loads(pickle.dumps(value, 2))  # the attack works where it is let
    assert target.exists()


def _forged(torch):
    odd = {"__reduce__": lambda self: (torch.load, ("x",))}
    return {
        "another name of torch": (type("Odd", (), odd)(), SIX, "torch.load was ref"),
        "a storage that is called": (Calls(torch.FloatStorage, 6), SIX, "a type call"),
        "a dict of arguments": (Calls(OrderedDict, [("a", 1)]), SIX, "with arguments"),
        "no storage": ([Stored(torch.FloatStorage, "0", 6, "module")], SIX, "of kind"),
        "a storage alone": ([Stored(torch.FloatStorage, "0", 6)], SIX, "was refused"),
        "a path as a key": (tensor(torch, (6,), (1,), key="../0"), SIX, "'../0'"),
        "a key without bytes": (tensor(torch, (6,), (1,), key="1"), SIX, "is missing"),
        "too few bytes": (tensor(torch, (7,), (1,), size=7), SIX, "24 bytes, not 28"),
        "an unknown kind": (
            tensor(torch, (6,), (1,), kind="load"),
            SIX,
            "torch.load was refused",
        ),
        "beyond the storage": (tensor(torch, (2, 4), (3, 1)), SIX, "does not fit"),
        "behind the storage": (tensor(torch, (6,), (1,), offset=1), SIX, "not fit"),
        "a huge view": (tensor(torch, (1 << 20, 1 << 20), (0, 0)), SIX, "not fit"),
        "before the storage": (
            tensor(torch, (2,), (1,), offset=-1),
            SIX,
            "was refused",
        ),
        "backwards": (tensor(torch, (2,), (-1,), offset=3), SIX, "was refused"),
    }


def test_what_no_tensor_is_is_refused(torch):
    for value, storages, words in _forged(torch).values():
        with pytest.raises(DataError, match=words):
            torch_files.loads(zipped(value, storages))


def test_compressed_bytes_and_another_byte_order_are_refused(torch):
    value = tensor(torch, (6,), (1,))
    with pytest.raises(DataError, match="is compressed"):
        torch_files.loads(zipped(value, SIX, zipfile.ZIP_DEFLATED))
    with pytest.raises(DataError, match="byte order"):
        torch_files.loads(zipped(value, SIX, order=b"big"))


def test_the_format_before_zip_and_a_zip_of_something_else_are_named(tmp_path):
    old = tmp_path / "old.pt"
    old.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2))
    with pytest.raises(DataError, match=r"torch before 1\.6"):
        torch_files.load(old)
    other = tmp_path / "other.pt"
    with zipfile.ZipFile(other, "w") as file:
        file.writestr("readme.txt", "hello")
    with pytest.raises(DataError, match="without the one data.pkl"):
        torch_files.load(other)
    other.write_bytes(other.read_bytes()[:20])
    with pytest.raises(DataError, match="was not read"):
        torch_files.load(other)
