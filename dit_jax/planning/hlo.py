"""What a compiled program does: its products and collectives, as often as they run.

XLA's own cost analysis counts the body of a loop once. Here the text of the optimised
program is read: every computation, who calls it, and the trip counts of its loops.
"""

import collections
import dataclasses
import functools
import math
import re
from collections.abc import Iterator, Mapping

import numpy as np

from dit_jax.planning.communication import sent

COLLECTIVES = (
    "all-gather",
    "all-reduce",
    "reduce-scatter",
    "all-to-all",
    "ragged-all-to-all",
    "collective-permute",
    "collective-broadcast",
)
BITS = {"pred": 8, "token": 0, "bf16": 16, "opaque": 0}
# A fusion of this name reduces and scatters at once, though it says all-reduce.
SCATTER = "all-reduce-scatter"
START = '"AsyncCollectiveStart"'
KERNELS = ('"tpu_custom_call"', '"__cudnn$')
PRODUCT = '"__cublas$'  # what the GPU compiler leaves to the library


@dataclasses.dataclass(frozen=True)
class Operation:
    """One line: `%name = type opcode(operands), attributes`."""

    name: str
    type: str
    opcode: str
    operands: tuple[str, ...]
    attributes: str

    def attribute(self, name: str) -> str | None:
        """The text of `name=...`: a name, a number, or what stands in braces."""
        found = re.search(
            rf"(?<![\w.]){name}=(\{{.*?\}}(?=,|$| )|[^,{{ ]+)", self.attributes
        )
        return None if found is None else found[1]

    def calls(self, *targets: str) -> bool:
        """Whether this is a custom call of a target that begins like one of these."""
        return (self.attribute("custom_call_target") or "").startswith(targets)

    @property
    def scope(self) -> str:
        found = re.search(r'op_name="([^"]*)"', self.attributes)
        return "" if found is None else found[1]


@dataclasses.dataclass(frozen=True)
class Collective:
    """kind: as XLA names it. axes: along which chips exchange. payload: bytes of the
    whole array on one chip; sent: bytes that one chip must send, at least, each time.
    count: times a step. in_loop: whether a loop runs it."""

    kind: str
    axes: tuple[str, ...]
    payload: int
    sent: int
    count: int
    in_loop: bool
    scope: str

    @property
    def total(self) -> int:
        """Bytes that one chip sends in a step."""
        return self.sent * self.count


class Program:
    """The computations of a compiled program and how often each of them runs."""

    def __init__(self, text: str):
        self.computations, self.entry = _parse(text)
        self.runs = self._count()

    def flops(self) -> int:
        """Of all products and convolutions; kernels written by hand are not seen."""
        return sum(
            runs * _flops(operation, self._types(name))
            for name, runs, operation in self._each()
            if operation.opcode in ("dot", "convolution") or operation.calls(PRODUCT)
        )

    def kernels(self) -> dict[str, int]:
        """Calls a step of kernels written by hand, by the name of the kernel."""
        counts: collections.Counter[str] = collections.Counter()
        for _, runs, operation in self._each():
            if operation.calls(*KERNELS):
                counts[operation.name.partition(".")[0]] += runs
        return dict(counts)

    def collectives(self, mesh: Mapping[str, int]) -> list[Collective]:
        """mesh: sizes of the axes, in the order of the devices."""
        found = []
        for name, runs, operation in self._each():
            kind = operation.opcode.removesuffix("-start")
            # The TPU compiler repeats an asynchronous collective in every stage of its
            # chain; the first stage is marked.
            is_later = "chain_id" in operation.attributes and not self._starts(name)
            if kind not in COLLECTIVES or is_later:
                continue
            if SCATTER in name and kind == "all-reduce":
                kind = "reduce-scatter"
            found.append(
                _collective(kind, operation, mesh, runs, name not in self._outside)
            )
        return [collective for collective in found if collective.axes]

    def _each(self) -> Iterator[tuple[str, int, Operation]]:
        for name, runs in self.runs.items():
            for operation in self.computations[name]:
                yield name, runs, operation

    def _starts(self, name: str) -> bool:
        """Whether a computation is the first stage of an asynchronous collective."""
        return any(operation.calls(START) for operation in self.computations[name])

    @functools.cache  # noqa: B019
    def _types(self, name: str) -> dict[str, str]:
        return {operation.name: operation.type for operation in self.computations[name]}

    @functools.cached_property
    def _outside(self) -> set[str]:
        """Computations that no loop runs."""
        outside, waiting = set(), [self.entry]
        while waiting:
            name = waiting.pop()
            if name not in outside:
                outside.add(name)
                waiting += [
                    callee
                    for operation in self.computations[name]
                    if operation.opcode != "while"
                    for callee in _callees(operation)
                ]
        return outside

    def _count(self) -> dict[str, int]:
        """Runs of every computation that the entry reaches."""
        order: list[str] = []
        seen: set[str] = set()

        def visit(name: str) -> None:
            if name in seen:
                return
            seen.add(name)
            for operation in self.computations[name]:
                for callee in _callees(operation):
                    visit(callee)
            order.append(name)

        visit(self.entry)
        runs = collections.Counter({self.entry: 1})
        for name in reversed(order):  # callers before callees
            for operation in self.computations[name]:
                times = runs[name]
                if operation.opcode == "while":
                    times *= self._trips(name, operation)
                for callee in _callees(operation):
                    runs[callee] += times
        return dict(runs)

    def _trips(self, caller: str, loop: Operation) -> int:
        known = re.search(r'"known_trip_count":\{"n":"(\d+)"\}', loop.attributes)
        if known:
            return int(known[1])
        condition = self.computations[_name(loop.attribute("condition"))]
        root = condition[-1]
        limits = [
            int(operation.operands[0])
            for operation in condition
            if operation.opcode == "constant" and operation.type[:3] in ("s32", "u32")
        ]
        is_plain = root.opcode == "compare" and root.attribute("direction") == "LT"
        if not is_plain or len(limits) != 1:
            raise ValueError(
                f"the trip count of loop {loop.name} ({loop.scope}) cannot be read"
            )
        index = next(o for o in condition if o.opcode == "get-tuple-element")
        return -(-limits[0] // self._stride(loop, int(index.attribute("index") or 0)))

    def _stride(self, loop: Operation, index: int) -> int:
        """By how much a turn moves the counter at `index` of the loop's tuple."""
        body = self.computations[_name(loop.attribute("body"))]
        by_name = {operation.name: operation for operation in body}
        at = by_name[body[-1].operands[index]]
        stride = 0
        while at.opcode == "add":
            added = by_name[at.operands[1]]
            if added.opcode != "constant":
                break
            stride += int(added.operands[0])
            at = by_name[at.operands[0]]
        return stride or 1


def _parse(text: str) -> tuple[dict[str, list[Operation]], str]:
    """Operations by computation, roots last, and the name of the entry."""
    computations: dict[str, list[Operation]] = {}
    entry, current = "", None
    for line in text.splitlines():
        if current is None:
            header = re.match(r"(ENTRY )?%?([\w.-]+) \(.*\{$", line)
            if header:
                current = computations.setdefault(header[2], [])
                entry = header[2] if header[1] else entry
        elif line == "}" or line.startswith("}, execution_thread="):
            current = None
        elif operation := _operation(line):
            current.append(operation)
    return computations, entry


LINE = re.compile(r"\s*(?:ROOT )?%?([\w.-]+) = (.*)")


def _operation(line: str) -> Operation | None:
    match = LINE.match(line)
    if match is None:
        return None
    name, rest = match.groups()
    type_end = _closing(rest, 0) + 1 if rest.startswith("(") else rest.index(" ")
    opening = rest.index("(", type_end)
    closing = _closing(rest, opening)
    inside = re.sub(r"/\*.*?\*/", "", rest[opening + 1 : closing])
    operands = tuple(part.strip().lstrip("%") for part in inside.split(","))
    opcode = rest[type_end:opening].strip()
    return Operation(name, rest[:type_end], opcode, operands, rest[closing + 1 :])


def _closing(text: str, opening: int) -> int:
    """Where the parenthesis that opens at `opening` closes."""
    depth = 0
    for match in re.compile(r"[()]").finditer(text, opening):
        depth += 1 if match[0] == "(" else -1
        if depth == 0:
            return match.start()
    raise ValueError(f"unbalanced parentheses in {text[:80]!r}")


def _name(text: str | None) -> str:
    assert text is not None
    return text.lstrip("%")


def _callees(operation: Operation) -> list[str]:
    names = []
    for attribute in ("body", "condition", "calls"):
        if value := operation.attribute(attribute):
            names.append(_name(value))
    if operation.opcode in ("call", "call-start"):
        names.append(_name(operation.attribute("to_apply")))
    for attribute in ("branch_computations", "called_computations"):
        if value := operation.attribute(attribute):
            names += [_name(part.strip()) for part in value.strip("{}").split(",")]
    return names


ARRAY = re.compile(r"([a-z]\w*)\[([\d,]*)\]")


def shape(text: str) -> tuple[int, ...]:
    """Of an array type such as `bf16[28,72]{1,0}`."""
    match = ARRAY.match(text)
    assert match is not None, text
    return tuple(int(n) for n in match[2].split(",") if n)


def array_bytes(text: str) -> list[int]:
    """Bytes of every array of a type, which may be a tuple."""
    return [
        math.prod(int(n) for n in dims.split(",") if n) * _bits(dtype) // 8
        for dtype, dims in ARRAY.findall(text)
    ]


def _bits(dtype: str) -> int:
    if dtype in BITS:
        return BITS[dtype]
    width = re.match(r"[a-z]+(\d+)", dtype)
    assert width is not None, dtype
    return int(width[1])


def _collective(
    kind: str,
    operation: Operation,
    mesh: Mapping[str, int],
    runs: int,
    in_loop: bool,
) -> Collective:
    sizes = array_bytes(operation.type)
    is_start = operation.opcode.endswith("-start")
    if kind == "collective-permute":
        payload, ways = sum(sizes[: len(operation.operands)]), 1
        pairs = re.findall(r"\{(\d+),(\d+)\}", operation.attributes)
        # pairs that stay where they are send nothing
        moving = [(int(a), int(b)) for a, b in pairs if a != b]
        axes = _axes(np.array(moving or [(0, 0)]), mesh)
    else:
        groups = replica_groups(operation.attributes, math.prod(mesh.values()))
        axes, ways = _axes(groups, mesh), groups.shape[1]
        if is_start and operation.opcode != "all-reduce-start":
            sizes = sizes[len(sizes) // 2 :]  # (operands, results)
        scattered = operation.opcode.startswith("reduce-scatter")
        payload = sum(sizes) * (ways if scattered else 1)
    each = round(sent(kind, payload, ways))
    return Collective(kind, axes, payload, each, runs, in_loop, operation.scope)


ORDER = r"\[([\d,]+)\](?:T\(([\d,]+)\))?"
MESH_GROUPS = re.compile(
    r"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\(" + ORDER + r"\))? \{(.*?)\}"
)
IOTA_GROUPS = re.compile(r"replica_groups=\[([\d,]+)\]<=" + ORDER)


def replica_groups(attributes: str, num_devices: int) -> np.ndarray:
    """[groups, members] in any of the ways that XLA writes them."""
    named = MESH_GROUPS.search(attributes)
    if named:
        sizes = {name: int(n) for name, n in re.findall(r"'(\w+)'=(\d+)", named[1])}
        grid = _iota(named[2] or str(math.prod(sizes.values())), named[3])
        return _groups_of(grid, sizes, named[4])
    iota = IOTA_GROUPS.search(attributes)
    if iota:
        return _iota(iota[2], iota[3]).reshape(tuple(map(int, iota[1].split(","))))
    listed = re.search(r"replica_groups=\{(\{.*?\})\}", attributes)
    if listed:
        return np.array(
            [
                list(map(int, g.split(",")))
                for g in re.findall(r"\{([\d,]+)\}", listed[1])
            ]
        )
    given = re.search(r"replica_groups=(?!\{\}).*", attributes)
    assert given is None, given[0][:200]
    return np.arange(num_devices)[None]  # empty: all of them


def _groups_of(grid: np.ndarray, sizes: Mapping[str, int], text: str) -> np.ndarray:
    """Groups along the axes that `text` names: 'a', or the part 'a':(m)k of it, which
    is the middle of m x k x the rest."""
    parts = {
        name: (int(before or 1), int(size or sizes[name]))
        for name, before, size in re.findall(r"'(\w+)'(?::\((\d+)\)(\d+))?", text)
    }
    lengths: list[int] = []
    inside: list[int] = []
    for name, length in sizes.items():
        before, size = parts.get(name, (1, 1))
        inside += [len(lengths) + 1] if name in parts else []
        lengths += [before, size, length // (before * size)]
    outside = [dim for dim in range(len(lengths)) if dim not in inside]
    grid = grid.reshape(lengths).transpose(*outside, *inside)
    return grid.reshape(-1, math.prod(lengths[dim] for dim in inside))


def _iota(dims: str, order: str | None) -> np.ndarray:
    """The devices in `[dims]T(order)`."""
    shape = tuple(map(int, dims.split(",")))
    grid = np.arange(math.prod(shape)).reshape(shape)
    return grid.transpose(tuple(map(int, order.split(",")))) if order else grid


def _axes(groups: np.ndarray, mesh: Mapping[str, int]) -> tuple[str, ...]:
    """The mesh axes along which members of a group differ."""
    places = np.stack(np.unravel_index(groups, tuple(mesh.values())))
    varies = (places != places[:, :, :1]).any(axis=(1, 2))
    return tuple(name for name, moves in zip(mesh, varies, strict=True) if moves)


def _flops(operation: Operation, types: Mapping[str, str]) -> int:
    left, right = (shape(types[name]) for name in operation.operands[:2])
    out = shape(operation.type.lstrip("("))
    if operation.opcode != "convolution":
        contracted = [left[dim] for dim in _contracted(operation)]
        return 2 * math.prod(out) * math.prod(contracted)
    labels = operation.attribute("dim_labels") or ""
    of_left, of_right, of_out = re.split("_|->", labels)
    window = _window(operation)
    per_place = 1
    for number in (c for c in of_out if c.isdigit()):
        per_place *= _valid_places(
            left[of_left.index(number)],
            right[of_right.index(number)],
            out[of_out.index(number)],
            **{key: values[int(number)] for key, values in window.items()},
        )
    batch, features = out[of_out.index("b")], out[of_out.index("f")]
    return 2 * batch * features * right[of_right.index("i")] * per_place


def _contracted(operation: Operation) -> list[int]:
    """The dims of the first operand that a product sums over."""
    found = re.search(
        r'lhs_contracting_dim(?:s=\{|ensions":\[)([\d,"]*)', operation.attributes
    )
    return [int(dim) for dim in re.findall(r"\d+", found[1])] if found else []


def _window(operation: Operation) -> dict[str, list[int]]:
    found = re.search(r"window=\{(.*?)\}", operation.attributes)
    fields = dict(part.split("=") for part in found[1].split()) if found else {}
    rank = len(fields["size"].split("x")) if fields else 0

    def read(key: str, default: str) -> list[int]:
        text = fields.get(key, "x".join([default] * rank))
        return [int(part.split("_")[0]) for part in text.split("x") if part]

    return {
        "stride": read("stride", "1"),
        "pad": read("pad", "0_0"),
        "lhs_dilate": read("lhs_dilate", "1"),
        "rhs_dilate": read("rhs_dilate", "1"),
    }


@functools.cache
def _valid_places(
    left: int,
    kernel: int,
    out: int,
    *,
    stride: int,
    pad: int,
    lhs_dilate: int,
    rhs_dilate: int,
) -> int:
    """(output, kernel) positions along one dim that meet an element and no padding."""
    at = np.arange(out)[:, None] * stride - pad + np.arange(kernel) * rhs_dilate
    is_element = (at % lhs_dilate == 0) & (at >= 0) & (at // lhs_dilate < left)
    return int(is_element.sum())
