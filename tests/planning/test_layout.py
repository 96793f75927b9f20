"""Which links an axis of the mesh has, and what a mesh does not divide."""

import pytest

from dit_jax.errors import UserError
from dit_jax.parallel import topology
from dit_jax.planning import layout as layout_lib
from dit_jax.planning.layout import Layout

GB = 1e9
ONES = {"data": 1, "fsdp": 1, "context": 1, "tensor": 1}


def spans(name, **sizes):
    return layout_lib.spans(Layout(**sizes), topology.parse(name))


def test_a_whole_pod_is_rings_along_all_its_axes():
    span = spans("v5e:16x16", fsdp=256)["fsdp"]
    assert span.lines == ((16, 90 * GB), (16, 90 * GB))
    assert (span.inner, span.outer) == (256, 1)


def test_a_small_slice_has_no_rings():
    span = spans("v5e:4x4", fsdp=16)["fsdp"]
    assert span.lines == ((4, 45 * GB), (4, 45 * GB))


def test_a_part_of_a_length_is_a_line_and_the_rest_another():
    found = spans("v5e:16x16", fsdp=64, context=4)
    assert found["context"].lines == ((4, 45 * GB),)
    assert dict(found["fsdp"].lines) == {16: 90 * GB, 4: 45 * GB}


def test_cubes_of_four_are_rings():
    found = spans("v5p:8x8x4", fsdp=64, context=4)
    assert found["context"].lines == ((4, 180 * GB),)
    assert found["fsdp"].lines == ((8, 180 * GB), (8, 180 * GB))


def test_two_devices_of_a_chip_share_its_links():
    found = spans("tpu7x:4x4x4", fsdp=64, context=2)
    assert found["context"].lines == ((2, 45 * GB),)
    assert found["fsdp"].inner_bytes_per_s == 3 * 90 * GB


@pytest.mark.parametrize(
    ("sizes", "outer"),
    [({"data": 2, "fsdp": 256}, {"data": 2}), ({"fsdp": 512}, {"fsdp": 2})],
)
def test_what_does_not_fit_a_slice_spans_slices(sizes, outer):
    found = spans("2*v5e:16x16", **sizes)
    assert {axis: s.outer for axis, s in found.items() if s.outer > 1} == outer


def test_a_host_of_gpus_is_a_switch():
    found = spans("h100:8x8", data=8, context=8)
    assert found["context"].lines == ((8, 450 * GB),)
    assert found["context"].switched
    assert found["data"].outer == 8


@pytest.mark.parametrize(
    "name", ["v5e:16x16", "2*v5p:4x4x4", "h100:8x8", "tpu7x:2x4x4"]
)
def test_spans_hold_all_devices_of_every_mesh(name):
    machine = topology.parse(name)
    for data, context, tensor in [(1, 1, 1), (2, 4, 1), (1, 2, 4), (16, 2, 2)]:
        fsdp = machine.num_devices // (data * context * tensor)
        sizes = {"data": data, "fsdp": fsdp, "context": context, "tensor": tensor}
        found = spans(name, **sizes)
        assert {a: s.inner * s.outer for a, s in found.items()} == sizes


def test_minus_one_takes_the_devices_that_are_left():
    sizes = ONES | {"fsdp": -1, "context": 4}
    filled = layout_lib.fill(sizes, topology.parse("v5e:4x4"))
    assert filled.sizes == ONES | {"fsdp": 4, "context": 4}


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"fsdp": 3}, "but v5e:4x4 has 16 devices; change mesh.{data,fsdp"),
        ({"fsdp": -1, "tensor": 3}, "but v5e:4x4 has 16 devices"),
        ({"fsdp": -1, "tensor": 32}, "but v5e:4x4 has 16 devices"),
        ({"fsdp": -1, "data": -1}, "at most one is -1"),
        ({"fsdp": 0}, "at least 1"),
    ],
)
def test_a_mesh_that_is_not_the_machine_is_refused(sizes, words):
    with pytest.raises(UserError) as refusal:
        layout_lib.fill(ONES | sizes, topology.parse("v5e:4x4"))
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"batch_size": 100}, "not a positive multiple of the mesh's data*fsdp = 256"),
        ({"microbatches": 3}, "train.microbatches is 3, which does not divide"),
        ({"microbatches": 2}, "train.batch_size / train.microbatches is 128"),
        ({"fsdp": 8, "tensor": 32}, "model.num_heads: dim 'heads' is 16"),
        ({"fsdp": 8, "context": 32}, "mesh.ring=1 that exchange them"),
        ({"fsdp": 8, "context": 32, "ring": 3}, "mesh.ring is 3, which does not"),
    ],
)
def test_what_a_mesh_does_not_divide_is_refused(make, settings, words):
    with pytest.raises(UserError) as refusal:
        make(**settings)
    assert words in str(refusal.value)


def test_a_ring_takes_more_devices_than_there_are_heads(make):
    assert make(fsdp=8, context=32, ring=2).step_s > 0
