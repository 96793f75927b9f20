"""The links that axes have, and how long they take for a collective."""

import pytest

from dit_jax.parallel import topology
from dit_jax.planning import links
from dit_jax.planning.communication import Collective
from dit_jax.planning.layout import Layout

GB = 1e9


def spans(name, **sizes):
    return links.spans(Layout(**sizes), topology.parse(name))


def seconds(name, kind, size, axes, **sizes):
    found = Collective(kind, axes, "", size, 1, in_scan=True, hidden=True)
    return links.seconds(found, spans(name, **sizes), topology.parse(name).chip)


def rate(span):
    return sum(each for _, each in span.lines)


def test_a_whole_pod_is_rings_along_all_its_axes():
    span = spans("v5e:16x16", fsdp=256)["fsdp"]
    assert span.lines == ((16, 90 * GB), (16, 90 * GB))
    assert (span.inner, span.outer) == (256, 1)


def test_a_small_slice_has_no_rings():
    span = spans("v5e:4x4", fsdp=16)["fsdp"]
    assert span.lines == ((4, 45 * GB), (4, 45 * GB))


def test_a_part_of_a_length_is_a_line_and_the_rest_another():
    found = spans("v5e:16x16", fsdp=64, context=4)
    assert found["exchange"].lines == ((4, 45 * GB),)
    assert dict(found["fsdp"].lines) == {16: 90 * GB, 4: 45 * GB}


def test_cubes_of_four_are_rings():
    found = spans("v5p:8x8x4", fsdp=64, context=4)
    assert found["exchange"].lines == ((4, 180 * GB),)
    assert found["fsdp"].lines == ((8, 180 * GB), (8, 180 * GB))


def test_two_devices_of_a_chip_share_its_links():
    found = spans("tpu7x:4x4x4", fsdp=64, context=2)
    assert found["exchange"].lines == ((2, 45 * GB),)
    assert rate(found["fsdp"]) == 3 * 90 * GB


@pytest.mark.parametrize(
    ("sizes", "outer"),
    [({"data": 2, "fsdp": 256}, {"data": 2}), ({"fsdp": 512}, {"fsdp": 2})],
)
def test_what_does_not_fit_a_slice_spans_slices(sizes, outer):
    found = spans("2*v5e:16x16", **sizes)
    assert {axis: s.outer for axis, s in found.items() if s.outer > 1} == outer


def test_a_host_of_gpus_is_a_switch():
    found = spans("h100:8x8", data=8, context=8)
    assert found["exchange"].lines == ((8, 450 * GB),)
    assert found["data"].outer == 8


@pytest.mark.parametrize(
    "name", ["v5e:16x16", "2*v5p:4x4x4", "h100:8x8", "tpu7x:2x4x4"]
)
def test_spans_hold_all_devices_of_every_mesh(name):
    machine = topology.parse(name)
    for data, context, tensor in [(1, 1, 1), (2, 4, 1), (1, 2, 4), (16, 2, 2)]:
        fsdp = machine.num_devices // (data * context * tensor)
        sizes = {"data": data, "fsdp": fsdp, "tensor": tensor}
        found = spans(name, context=context, **sizes)
        held = {axis: span.inner * span.outer for axis, span in found.items()}
        assert held == sizes | {"exchange": context, "ring": 1}


def test_gathering_on_a_ring_uses_both_directions():
    inside, outside = seconds("v5e:16x16", "all-gather", 16e9, ("fsdp",), fsdp=256)
    assert inside == pytest.approx(16e9 * 255 / 256 / (4 * 45e9))
    assert outside == 0
    twice, _ = seconds("v5e:16x16", "all-reduce", 16e9, ("fsdp",), fsdp=256)
    assert twice == 2 * inside


def test_an_exchange_on_a_ring_is_a_quarter_of_its_bytes_over_both_directions():
    """V bytes in all, V / (4 W): the scaling book's all-to-all."""
    sizes = {"fsdp": 16, "context": 16}
    total = 16e9
    inside, _ = seconds("v5e:16x16", "all-to-all", total / 16, ("context",), **sizes)
    assert inside == pytest.approx(total / (4 * 90e9))


def test_between_slices_a_device_sends_its_shard():
    inside, outside = seconds(
        "2*v5e:16x16", "all-reduce", 1e9, ("data",), data=2, fsdp=256
    )
    assert inside == 0
    assert outside == pytest.approx(2 * 1e9 / 2 / 3.125e9)
    _, gathered = seconds("2*v5e:16x16", "all-gather", 512e6, ("fsdp",), fsdp=512)
    assert gathered == pytest.approx(512e6 / 256 / 2 / 3.125e9)


def test_a_switch_reaches_every_device_at_once():
    inside, _ = seconds("h100:1x8", "all-to-all", 8e9, ("context",), context=8)
    assert inside == pytest.approx(8e9 * 7 / 8 / 450e9)


def test_a_hop_uses_one_link():
    sizes = {"fsdp": 16, "context": 16}
    hop, _ = seconds(
        "v5e:16x16", "collective-permute", 45e9, ("context",), ring=16, **sizes
    )
    assert hop == 1


def test_a_ring_lies_around_what_exchanges_heads():
    """Eight devices of a host exchange, two hosts pass keys round."""
    found = spans("h100:2x8", context=16, ring=2)
    assert (found["exchange"].inner, found["exchange"].outer) == (8, 1)
    assert (found["ring"].inner, found["ring"].outer) == (1, 2)
    sizes = {"context": 16, "ring": 2}
    _, hop = seconds("h100:2x8", "collective-permute", 50e9, ("context",), **sizes)
    assert hop == 1
    inside, outside = seconds("h100:2x8", "all-to-all", 8e9, ("context",), **sizes)
    assert inside > 0 and outside == 0
    _, gathered = seconds("h100:2x8", "all-gather", 8e9, ("context",), **sizes)
    assert gathered == pytest.approx(8e9 / 8 / 2 / 50e9)


def test_axes_of_one_host_share_its_switch():
    one, _ = seconds("h100:1x8", "all-gather", 8e9, ("fsdp",), fsdp=8)
    sizes = {"fsdp": 4, "context": 2}
    two, _ = seconds("h100:1x8", "all-gather", 8e9, ("fsdp", "context"), **sizes)
    assert one == two
