"""Which links an axis of the mesh has, and how long a collective takes on them.

Axes are laid from the inside out, tensor, context, fsdp, data: an axis takes lengths of
the torus (or GPUs of a host) until the group is full, and what is left of it spans
groups over the data centre's network. Of the context axis, what exchanges heads lies
inside what passes keys round.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

from dit_jax.parallel.chips import Chip
from dit_jax.parallel.topology import Topology
from dit_jax.planning.communication import Collective
from dit_jax.planning.layout import Layout

EXCHANGE, RING = "exchange", "ring"  # the two parts of the context axis


@dataclasses.dataclass(frozen=True)
class Span:
    """lines: (length, bytes/s that a device receives along it) of each stretch of torus
    or switch inside a group. outer: groups it spans."""

    lines: tuple[tuple[int, float], ...]
    outer: int

    @property
    def inner(self) -> int:
        return math.prod(length for length, _ in self.lines)


def spans(layout: Layout, topology: Topology) -> dict[str, Span]:
    """The links that each axis of the mesh has on a machine."""
    chip = topology.chip
    lengths = list(topology.group_shape)
    if chip.devices_per_chip > 1:
        lengths.append(chip.devices_per_chip)
    sizes = {
        "tensor": layout.tensor,
        EXCHANGE: layout.exchange,
        RING: layout.ring,
        "fsdp": layout.fsdp,
        "data": layout.data,
    }
    left = list(lengths)
    return {axis: _laid(size, left, lengths, chip) for axis, size in sizes.items()}


def _laid(size: int, left: list[int], lengths: Sequence[int], chip: Chip) -> Span:
    """Takes `size` devices from what is left of each length; whole lengths first, for
    only they can be rings."""
    lines = []
    for i in sorted(range(len(left)), key=lambda i: size % lengths[i] != 0):
        part = math.gcd(size, left[i])
        if part > 1:
            is_ring = part == lengths[i] and part % chip.wraps_at == 0 and part > 2
            links = 2 if chip.torus_dims and is_ring else 1
            lines.append((part, links * chip.links_bytes_per_s))
            left[i] //= part
            size //= part
    return Span(tuple(lines), outer=size)


def seconds(
    collective: Collective, links: Mapping[str, Span], chip: Chip
) -> tuple[float, float]:
    """(over the links inside a group, over the network between groups), a step.

    Gathering n shards of S bytes in all brings (n - 1) / n S to every device; reducing
    and scattering costs the same, an all-reduce both. An all-to-all of V bytes over a
    line of n devices moves n V / 4 through its middle, a switch n - 1 shards. A permute
    waits for its slowest hop. Between groups every device exchanges its own shard with
    its counterparts.
    """
    used = [links[axis] for axis in _parts(collective)]
    inside, outside = TIMES[collective.kind](collective.num_bytes, used, chip)
    return inside * collective.count, outside * collective.count


def _parts(collective: Collective) -> list[str]:
    context = {
        "all-to-all": (EXCHANGE,),
        "collective-permute": (RING,),
    }.get(collective.kind, (EXCHANGE, RING))
    parts: list[str] = []
    for axis in collective.axes:
        parts += context if axis == "context" else (axis,)
    return parts


def _gather(size: float, used: Sequence[Span], chip: Chip) -> tuple[float, float]:
    inner = math.prod(span.inner for span in used)
    outer = math.prod(span.outer for span in used)
    rates = [rate for span in used for _, rate in span.lines]
    # all lines of a torus at once; a switch has one port, however many axes use it
    rate = sum(rates) if chip.torus_dims else max(rates, default=0.0)
    inside = size * (inner - 1) / inner / rate if inner > 1 else 0.0
    return inside, size / inner * (outer - 1) / outer / chip.dcn_bytes_per_s


def _reduce(size: float, used: Sequence[Span], chip: Chip) -> tuple[float, float]:
    inside, outside = _gather(size, used, chip)
    return 2 * inside, 2 * outside


def _exchange(size: float, used: Sequence[Span], chip: Chip) -> tuple[float, float]:
    inside = outside = 0.0
    for span in used:
        times = [
            size * (length / 4 if chip.torus_dims else (length - 1) / length) / rate
            for length, rate in span.lines
        ]
        inside += max(times, default=0.0)
        outside += size * (span.outer - 1) / span.outer / chip.dcn_bytes_per_s
    return inside, outside


def _hop(size: float, used: Sequence[Span], chip: Chip) -> tuple[float, float]:
    (span,) = used
    if span.outer > 1:
        return 0.0, size / chip.dcn_bytes_per_s
    return size / chip.links_bytes_per_s, 0.0


TIMES = {
    "all-gather": _gather,
    "reduce-scatter": _gather,
    "all-reduce": _reduce,
    "all-to-all": _exchange,
    "collective-permute": _hop,
}
