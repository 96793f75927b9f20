"""What a mesh is on a machine, and what it does not divide."""

import pytest

from dit_jax.errors import UserError
from dit_jax.parallel import topology
from dit_jax.planning import layout as layout_lib

ONES = layout_lib.Layout().settings


def test_minus_one_takes_the_devices_that_are_left():
    sizes = ONES | {"fsdp": -1, "context": 4}
    filled = layout_lib.fill(sizes, topology.parse("v5e:4x4"))
    assert filled.settings == ONES | {"fsdp": 4, "context": 4}


def test_slices_that_are_not_told_are_those_of_data_and_then_fsdp():
    machine = topology.parse("4*v5e:4x4")
    filled = layout_lib.fill(ONES | {"data": 2, "fsdp": -1}, machine)
    assert (filled.data, filled.fsdp) == (2, 32)
    assert filled.settings == ONES | {"fsdp": 16, "dcn_data": 2, "dcn_fsdp": 2}
    assert layout_lib.fill(filled.settings, machine) == filled


def test_slices_that_the_machine_has_not_are_refused():
    with pytest.raises(UserError, match="are 2 slices, but v5e:4x4 has 1"):
        layout_lib.fill(ONES | {"fsdp": -1, "dcn_data": 2}, topology.parse("v5e:4x4"))


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
        ({"fsdp": 8, "context": 32}, "mesh.ring=1 does not divide"),
        ({"fsdp": 8, "context": 32, "ring": 3}, "mesh.ring is 3, which does not"),
    ],
)
def test_what_a_mesh_does_not_divide_is_refused(make, settings, words):
    with pytest.raises(UserError) as refusal:
        make(**settings)
    assert words in str(refusal.value)


def test_a_ring_takes_more_devices_than_there_are_heads(make):
    assert make(fsdp=8, context=32, ring=2).step_s > 0
