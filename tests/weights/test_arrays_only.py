import builtins
import os
import pickle
import pickletools
from collections import OrderedDict

import numpy as np
import pytest

from dit_jax.errors import DataError
from dit_jax.weights import arrays_only


class Calls:
    """Pickles as a call of `function(*arguments)`, then a BUILD with `state`."""

    def __init__(self, function, *arguments, state=None):
        self.parts = (function, arguments, state)

    def __reduce__(self):
        return self.parts


TREE = {
    "params": {"kernel": np.arange(24, dtype=np.float32).reshape(2, 3, 4)},
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big endian": np.arange(3, dtype=">i4"),
    "half": np.ones((2, 1), np.float16),
    "flags": [np.array([True, False]), (np.complex64([1j]), None, 7, -2.5, "text")],
    "scalar": np.float32(2.5),
    "shared": [TWICE := np.arange(2, dtype=np.uint8), TWICE],
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_trees_of_arrays_are_read_as_pickle_reads_them(protocol):
    found = arrays_only.loads(pickle.dumps(TREE, protocol))
    assert found.keys() == TREE.keys()
    for key, wanted in TREE.items():
        if isinstance(wanted, np.ndarray | np.generic):
            assert found[key].dtype == wanted.dtype
            np.testing.assert_array_equal(found[key], wanted)
    np.testing.assert_array_equal(found["params"]["kernel"], TREE["params"]["kernel"])
    assert found["flags"][1][1:] == (None, 7, -2.5, "text")
    np.testing.assert_array_equal(found["shared"][1], TWICE)


ATTACKS = {
    "os.system": Calls(os.system, "touch {target}"),
    "builtins.eval": Calls(builtins.eval, "open('{target}', 'w')"),
    "builtins.exec": Calls(exec, "open('{target}', 'w')"),
    "builtins.open": Calls(open, "{target}", "w"),
    "builtins.getattr": {"a": [Calls(getattr, "text", "format")]},
    "numpy.load": Calls(np.load, "{target}", None, True),
    "numpy.save": Calls(np.save, "{target}", np.ones(2)),
    "numpy.memmap": Calls(np.memmap, "{target}", np.uint8, "w+", 0, (9,)),
    "collections.OrderedDict": OrderedDict(a=np.ones(1)),
    "builtins.set": Calls(set, [1]),
    "builtins.object": object(),
    "test_arrays_only.Calls": Calls,
}


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("protocol", [2, 4])
def test_foreign_names_are_refused_by_name_and_have_no_effect(name, protocol, tmp_path):
    target = str(tmp_path / "made")
    data = pickle.dumps(ATTACKS[name], protocol)
    if b"{target}" in data:  # same length, so that the frame still fits
        short = os.path.relpath(target)[-8:].rjust(8, "_")
        data = data.replace(b"{target}", short.encode())
    module, _, last = name.rpartition(".")
    with pytest.raises(DataError, match=rf"{last}.* was refused"):
        arrays_only.loads(data)
    assert not list(tmp_path.iterdir())
    assert module


def test_the_attacks_work_on_pickle(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Calls(os.system, "touch made")))
    assert (tmp_path / "made").exists()


DISGUISED = {
    "object array": np.array([{}, print], object),
    "structured dtype": np.zeros(2, [("a", "f4")]),
    "datetime": np.zeros(2, "M8[s]"),
    "text array": np.array(["a"]),
    "ndarray called": Calls(np.ndarray, (1 << 40,)),
    "bytes": {"a": b"123"},
    "set": {1, 2},
    "deep name": {"a": {"b": [1, (2, Calls(os.system, "false"))]}},
    "dtype alone": np.dtype("f4"),
    "attributes on a name": Calls(np.dtype, "f4", state={"a": 1}),
    "object dtype": Calls(np.dtype, "O"),
    "dict as shape": Calls(np.zeros((1,)).__reduce__()[0], np.ndarray, (0,), b"b"),
}


@pytest.mark.parametrize("name", DISGUISED)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_what_only_looks_like_an_array_is_refused(name, protocol):
    with pytest.raises(DataError, match="refused|malformed"):
        arrays_only.loads(pickle.dumps(DISGUISED[name], protocol))


def _program(*lines):
    """A pickle from (opcode, raw argument bytes) pairs."""
    codes = {op.name: op.code.encode("latin1") for op in pickletools.opcodes}
    return b"".join(codes[name] + argument for name, argument in lines)


def test_every_opcode_outside_the_list_is_refused():
    listed = (
        {"PROTO", "FRAME", "STOP"}
        | arrays_only._LITERALS
        | set(arrays_only._CONSTANTS)
        | set(arrays_only._EMPTY)
        | set(arrays_only._OPCODES)
    )
    others = {op.name for op in pickletools.opcodes} - listed
    assert {"INST", "OBJ", "NEWOBJ_EX", "PERSID", "EXT1"} <= others
    for name in others:
        with pytest.raises(DataError, match=f"opcode {name} was refused"):
            arrays_only._Machine().step(name, None)


@pytest.mark.parametrize(
    "lines",
    [
        [("GLOBAL", b"numpy\ndtype\n"), ("EMPTY_DICT", b""), ("BUILD", b"")],
        [("GLOBAL", b"numpy\ndtype\n"), ("EMPTY_TUPLE", b""), ("BUILD", b"")],
        [("EMPTY_LIST", b""), ("EMPTY_TUPLE", b""), ("REDUCE", b"")],
        [("BININT1", b"\1"), ("BININT1", b"\1"), ("APPEND", b"")],
        [("EMPTY_LIST", b""), ("MEMOIZE", b""), ("BINGET", b"\0"), ("APPEND", b"")],
        [("BINGET", b"\x05")],
        [("POP_MARK", b"")],
        [("TUPLE3", b"")],
        [("EMPTY_DICT", b""), ("EMPTY_LIST", b""), ("NONE", b""), ("SETITEM", b"")],
        [("NONE", b""), ("NONE", b"")],
        [("MARK", b"")],
        [],
    ],
    ids=lambda lines: "-".join(name for name, _ in lines) or "nothing",
)
def test_hand_made_programs_are_refused(lines):
    with pytest.raises(DataError):
        arrays_only.loads(_program(*lines, ("STOP", b"")))


def test_nesting_that_would_exhaust_the_stack_is_refused():
    deep = _program(*[("EMPTY_LIST", b"")] * 500, *[("APPEND", b"")] * 499)
    with pytest.raises(DataError, match="nesting deeper than 64"):
        arrays_only.loads(deep + b".")


def test_shared_lists_do_not_blow_up():
    tree = [np.ones(1)]
    for _ in range(60):
        tree = [tree, tree]  # 2^60 leaves for a walk that forgets where it was
    found = arrays_only.loads(pickle.dumps(tree))
    assert found[0] is found[1]


def test_arrays_of_another_size_than_their_bytes_are_refused():
    data = pickle.dumps(np.arange(4, dtype=np.uint8), 4)
    grown = data.replace(b"K\x01K\x04\x85", b"K\x01K\x7f\x85")
    assert grown != data
    with pytest.raises(DataError, match=r"\(127,\) holds 4 bytes, not 127"):
        arrays_only.loads(grown)


def test_every_truncation_is_refused():
    data = pickle.dumps({"a": np.arange(5.0), "b": [1, "text"]}, 4)
    for length in range(len(data)):
        with pytest.raises(DataError):
            arrays_only.loads(data[:length])
    with pytest.raises(DataError, match="after the end"):
        arrays_only.loads(data + b"x")


def test_the_file_is_named(tmp_path):
    (tmp_path / "bad.ckpt").write_bytes(pickle.dumps(print))
    with pytest.raises(DataError, match=r"bad.ckpt was not read.*builtins.print"):
        arrays_only.load(tmp_path / "bad.ckpt")


def test_a_tower_of_marks_is_refused_and_not_searched_again_and_again():
    """200,000 nested tuples: seconds if each were found from the stack's bottom."""
    tower = b"\x80\x02" + b"(" * 200_000 + b"t" * 200_000 + b"."
    with pytest.raises(DataError, match="nesting deeper"):
        arrays_only.loads(tower)


def test_a_tuple_without_a_mark_is_refused():
    with pytest.raises(DataError):
        arrays_only.loads(b"\x80\x02t.")
