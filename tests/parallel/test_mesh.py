"""Mesh sizes that fit, and the sentence for those that do not."""

import jax
import pytest

from dit_jax.parallel import mesh

ONES = {"data": 1, "fsdp": 1, "context": 1, "tensor": 1}


def test_minus_one_takes_the_devices_that_are_left():
    sizes = mesh.axis_sizes(8, **ONES | {"fsdp": -1, "tensor": 2})
    assert sizes == {"data": 1, "fsdp": 4, "context": 1, "tensor": 2}


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"fsdp": 3}, "= 3 devices, but there are 8"),
        ({"fsdp": -1, "tensor": 3}, "8 devices are not divisible by 3"),
        ({"fsdp": -1, "data": -1}, "at most one is -1"),
        ({"fsdp": 0}, "at least 1"),
    ],
)
def test_a_mesh_that_does_not_match_is_refused(sizes, words):
    with pytest.raises(ValueError, match=words):
        mesh.axis_sizes(8, **ONES | sizes)


def test_description_names_the_axes_in_use():
    built = mesh.build(jax.devices(), **ONES | {"data": 2, "fsdp": 4})
    assert mesh.describe(built) == "8 x cpu: data 2, fsdp 4"
