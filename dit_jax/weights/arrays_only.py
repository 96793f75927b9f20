"""The one reader of pickled files: it can build nothing but arrays.

A pickle is a program for a small stack machine. This is such a machine for the few
opcodes that arrays in dicts, lists and tuples need. It imports nothing that the file
names and calls nothing that the file brings: the names in `ALLOWED`, or in the table
that `torch_files` hands in, select functions of these modules, every other name and
opcode is refused before anything happens.
"""

import dataclasses
import math
import pickletools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dit_jax import files
from dit_jax.errors import DataError

NUMERIC = frozenset(
    (
        "b1",
        "i1",
        "i2",
        "i4",
        "i8",
        "u1",
        "u2",
        "u4",
        "u8",
        "f2",
        "f4",
        "f8",
        "c8",
        "c16",
    )
)
MAX_DEPTH = 64
_MARK = object()
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, Callable[[], Any]] = {
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
}
_LITERALS = frozenset(
    (
        "BININT",
        "BININT1",
        "BININT2",
        "LONG1",
        "BINFLOAT",
        "BINUNICODE",
        "SHORT_BINUNICODE",
        "BINUNICODE8",
        "BINBYTES",
        "SHORT_BINBYTES",
        "BINBYTES8",
        "BYTEARRAY8",
    )
)


def load(name: files.PathLike) -> Any:
    """The tree of arrays in a pickled file; DataError names what was refused."""
    try:
        return loads(files.read_bytes(name))
    except DataError as error:
        raise DataError(f"{name} was not read: {error}") from error


def loads(
    data: bytes,
    names: Mapping[tuple[str, str], Callable[..., Any]] | None = None,
    outside: Callable[[Any], Any] | None = None,
) -> Any:
    """Dicts, lists and tuples of arrays, numbers and strings from a pickle's bytes.

    Arrays have plain numeric dtypes and may be read-only views. Anything else, a
    truncated stream and bytes after its end raise DataError.
    names: what the file may name, and our function for it; `ALLOWED` if not given.
    outside: what a persistent id stands for; refused if not given.
    """
    machine = _Machine(ALLOWED if names is None else names, outside)
    try:
        return _finished(machine.run(data), {}, MAX_DEPTH)
    except DataError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
        raise DataError(
            f"the pickle is truncated or malformed ({error}); get the file again"
        ) from error


@dataclasses.dataclass
class Name:
    """A global that the file may mention; only REDUCE turns it into a value."""

    module: str
    name: str


class Unfinished:
    """What BUILD may complete."""

    def build(self, state: Any) -> None:
        """Takes the state that the file gives; DataError for what is no array's."""
        raise NotImplementedError


@dataclasses.dataclass
class _Dtype(Unfinished):
    """A dtype under construction: BUILD gives it the byte order."""

    code: str
    order: str = "="

    def build(self, state: Any) -> None:
        _require_tuple(state)
        _version, self.order, subdtype, names, fields = state[:5]
        if (subdtype, names, fields) != (None, None, None):
            raise DataError("a structured dtype was refused; only numbers are read")
        if self.order not in ("<", ">", "=", "|"):
            raise DataError(f"byte order {self.order!r} was refused")

    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.code)


@dataclasses.dataclass
class _Array(Unfinished):
    """An array under construction: BUILD gives it shape, dtype and bytes."""

    value: np.ndarray | None = None

    def build(self, state: Any) -> None:
        _require_tuple(state)
        _version, shape, dtype, is_fortran, content = state
        self.value = _array(content, dtype, shape, "F" if is_fortran else "C")


def _require_tuple(state: Any) -> None:
    if not isinstance(state, tuple):
        raise DataError("setting attributes of something not an array was refused")


def _array(content: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    if not isinstance(dtype, _Dtype):
        raise DataError("an array without a numeric dtype was refused")
    if not isinstance(content, bytes | bytearray):
        raise DataError(f"an array of {type(content).__name__} objects was refused")
    if not all(type(size) is int and size >= 0 for size in shape):
        raise DataError(f"array shape {shape!r} was refused")
    wanted = math.prod(shape) * dtype.dtype().itemsize
    if len(content) != wanted:
        raise DataError(
            f"an array of shape {shape} holds {len(content)} bytes, not {wanted}"
        )
    if order not in ("C", "F"):
        raise DataError(f"array order {order!r} was refused")
    return np.frombuffer(content, dtype.dtype()).reshape(shape, order=order)


def _dtype(code: Any, *_flags: Any) -> _Dtype:
    if code not in NUMERIC:
        raise DataError(f"dtype {code!r} was refused; only numbers are read")
    return _Dtype(code)


def _reconstruct(kind: Any, *_placeholder: Any) -> _Array:
    if kind != Name("numpy", "ndarray"):
        raise DataError(f"an array of kind {kind!r} was refused")
    return _Array()


def _scalar(dtype: Any, content: Any) -> np.ndarray:
    return _array(content, dtype, (), "C")


def _encode(text: Any, codec: Any) -> bytes:
    """How protocol 2 writes bytes."""
    if not isinstance(text, str) or codec != "latin1":
        raise DataError(f"codec {codec!r} was refused")
    return text.encode("latin1")


def not_callable(*_arguments: Any) -> Any:
    """For names that may be mentioned and not called."""
    raise DataError("a type called with arguments was refused")


ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): not_callable,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _encode,
}
for _core in ("numpy.core", "numpy._core"):  # before and since numpy 2
    ALLOWED[_core + ".multiarray", "_reconstruct"] = _reconstruct
    ALLOWED[_core + ".multiarray", "scalar"] = _scalar
    ALLOWED[_core + ".numeric", "_frombuffer"] = _array


class _Machine:
    """The stack machine: one method an opcode family."""

    def __init__(
        self,
        names: Mapping[tuple[str, str], Callable[..., Any]] = ALLOWED,
        outside: Callable[[Any], Any] | None = None,
    ) -> None:
        self.names, self.outside = names, outside
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, data: bytes) -> Any:
        for opcode, argument, position in pickletools.genops(data):
            if opcode.name == "STOP":
                if (position or 0) + 1 != len(data):
                    raise DataError("bytes after the end of the pickle were refused")
                (result,) = self.stack
                return result
            self.step(opcode.name, argument)
        raise ValueError("no end")

    def step(self, opcode: str, argument: Any) -> None:
        if opcode in ("PROTO", "FRAME"):
            return
        if opcode in _LITERALS:
            self.stack.append(argument)
        elif opcode in _CONSTANTS:
            self.stack.append(_CONSTANTS[opcode])
        elif opcode in _EMPTY:
            self.stack.append(_EMPTY[opcode]())
        elif opcode in _OPCODES:
            _OPCODES[opcode](self, argument)
        else:
            raise DataError(f"pickle opcode {opcode} was refused; only arrays are read")

    def mark(self, _argument: Any) -> None:
        self.stack.append(_MARK)

    def since_mark(self) -> list[Any]:
        # from the top: a search of the whole stack would make many marks quadratic
        places = range(len(self.stack) - 1, -1, -1)
        start = next((i for i in places if self.stack[i] is _MARK), None)
        if start is None:
            raise ValueError("there is no mark on the stack")
        items = self.stack[start + 1 :]
        del self.stack[start:]
        return items

    def memoize(self, index: int | None) -> None:
        self.memo[len(self.memo) if index is None else index] = self.stack[-1]

    def recall(self, index: int) -> None:
        self.stack.append(self.memo[index])

    def tuple_of(self, count: int | None) -> None:
        if count is None:
            self.stack.append(tuple(self.since_mark()))
            return
        items = self.stack[-count:]
        if len(items) < count:
            raise ValueError("the stack is empty")
        self.stack[-count:] = [tuple(items)]

    def extend(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise DataError("appending to something not a list was refused")
        self.stack[-1].extend(items)

    def update(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], dict):
            raise DataError("setting items of something not a dict was refused")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str | int):
                raise DataError(f"a dict key of type {type(key).__name__} was refused")
            self.stack[-1][key] = value

    def name(self, module: Any, name: Any) -> None:
        if (module, name) not in self.names:
            raise DataError(
                f"the name {module}.{name} was refused; only arrays are read"
            )
        self.stack.append(Name(module, name))

    def reduce(self, _argument: Any) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise DataError("a call of something not an array function was refused")
        self.stack.append(self.names[function.module, function.name](*arguments))

    def build(self, _argument: Any) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if not isinstance(target, Unfinished):
            raise DataError("setting attributes of something not an array was refused")
        target.build(state)

    def refer(self, _argument: Any) -> None:
        if self.outside is None:
            raise DataError("a reference out of the pickle was refused")
        self.stack.append(self.outside(self.stack.pop()))


_OPCODES: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine.mark,
    "MEMOIZE": _Machine.memoize,
    "BINPUT": _Machine.memoize,
    "LONG_BINPUT": _Machine.memoize,
    "BINGET": _Machine.recall,
    "LONG_BINGET": _Machine.recall,
    "TUPLE": _Machine.tuple_of,
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "APPEND": lambda machine, _: machine.extend([machine.stack.pop()]),
    "APPENDS": lambda machine, _: machine.extend(machine.since_mark()),
    "SETITEM": lambda machine, _: machine.update(
        [machine.stack.pop(-2), machine.stack.pop()]
    ),
    "SETITEMS": lambda machine, _: machine.update(machine.since_mark()),
    "GLOBAL": lambda machine, name: machine.name(*name.split(" ", 1)),
    "STACK_GLOBAL": lambda machine, _: machine.name(
        machine.stack.pop(-2), machine.stack.pop()
    ),
    "REDUCE": _Machine.reduce,
    "NEWOBJ": _Machine.reduce,  # our function of the name either way
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.refer,
}


def _finished(value: Any, done: dict[int, Any], depth: int) -> Any:
    """The tree with finished arrays; shared parts are walked once, cycles refused."""
    if value is None or isinstance(value, bool | int | float | str | np.ndarray):
        return value
    if depth == 0:
        raise DataError(f"nesting deeper than {MAX_DEPTH} was refused")
    if id(value) in done:
        return done[id(value)]
    if isinstance(value, dict):
        result: Any = {k: _finished(v, done, depth - 1) for k, v in value.items()}
    elif isinstance(value, list | tuple):
        result = type(value)(_finished(item, done, depth - 1) for item in value)
    elif isinstance(value, _Array) and value.value is not None:
        result = value.value
    else:
        raise DataError(
            f"a {type(value).__name__.strip('_').lower()} alone was refused"
        )
    done[id(value)] = result
    return result
