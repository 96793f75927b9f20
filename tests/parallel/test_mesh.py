"""Mesh sizes that fit, where slices lie in them, and the sentence for what does not."""

import dataclasses

import jax
import numpy as np
import pytest
from jax.experimental import mesh_utils, topologies

from dit_jax.parallel import mesh, topology

ONES = {"data": 1, "fsdp": 1, "context": 1, "tensor": 1}


@dataclasses.dataclass(frozen=True)
class Device:
    """As much of a device as a mesh is built from."""

    id: int
    platform: str
    process_index: int
    slice_index: int = 0
    device_kind: str = "some kind"
    core_on_chip: int = 0
    coords: tuple = ()


def hosts(num_hosts, of_each=4, platform="gpu"):
    return [Device(i, platform, i // of_each) for i in range(num_hosts * of_each)]


def arranged(found, **sizes):
    """Numbers of devices, as they lie in the mesh."""
    grid = mesh.arrange(found, **ONES | sizes)
    return np.vectorize(lambda device: device.id)(grid)


def test_minus_one_takes_the_devices_that_are_left():
    sizes = mesh.axis_sizes(8, **ONES | {"fsdp": -1, "tensor": 2})
    assert sizes == {"data": 1, "fsdp": 4, "context": 1, "tensor": 2}


def test_minus_one_takes_what_is_left_of_a_slice():
    sizes = ONES | {"fsdp": -1, "context": 2}
    found = mesh.axis_sizes(32, **sizes, dcn_data=2, dcn_fsdp=2)
    assert found == {"data": 2, "fsdp": 8, "context": 2, "tensor": 1}


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"fsdp": 3}, "= 3 devices, but there are 8"),
        ({"fsdp": -1, "tensor": 3}, "8 devices, which 3 does not divide"),
        ({"fsdp": -1, "data": -1}, "at most one is -1"),
        ({"fsdp": 0}, "at least 1"),
        ({"dcn_data": 2, "fsdp": 8}, "= 8 devices, but there are 4 devices in a slice"),
        ({"dcn_data": 2, "tensor": 3, "fsdp": -1}, "4 devices in a slice, which"),
        ({"dcn_data": 3}, "are 3 slices, which do not divide 8 devices"),
        ({"dcn_fsdp": 0}, "mesh.dcn_fsdp is 0; give at least 1"),
        ({"dcn_data": -1}, "mesh.dcn_data is -1; give at least 1"),
    ],
)
def test_a_mesh_that_does_not_match_is_refused(sizes, words):
    with pytest.raises(ValueError, match=words):
        mesh.axis_sizes(8, **ONES | sizes)


def test_another_number_of_devices_than_expected_is_refused():
    with pytest.raises(ValueError, match="mesh.devices is 16, but there are 8 x cpu"):
        mesh.build(**ONES | {"fsdp": -1}, devices=16)
    assert mesh.build(**ONES | {"fsdp": -1}, devices=8).size == 8


def test_description_names_the_axes_in_use():
    built = mesh.build(jax.devices(), **ONES | {"data": 2, "fsdp": 4})
    assert mesh.describe(built) == "8 x cpu: data 2, fsdp 4"


def test_slices_are_outermost_on_their_axis():
    found = arranged(hosts(4), dcn_data=2, dcn_fsdp=2, data=2, fsdp=2)
    assert found.shape == (4, 4, 1, 1)
    slices = found[:, :, 0, 0] // 4
    np.testing.assert_array_equal(
        slices, [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]
    )


@pytest.mark.parametrize("platform", ["gpu", "cpu"])
def test_several_hosts_may_be_one_slice(platform):
    found = arranged(hosts(4, platform=platform), dcn_fsdp=2, fsdp=-1)
    np.testing.assert_array_equal(found.reshape(-1), np.arange(16))


def test_devices_of_one_process_on_cpu_stand_for_slices():
    built = mesh.build(**ONES | {"tensor": 4}, dcn_data=2)
    assert dict(built.shape) == ONES | {"data": 2, "tensor": 4}


@pytest.mark.parametrize(
    ("found", "sizes", "words"),
    [
        (hosts(3, 2), {"dcn_data": 2}, "is 2, which does not divide 3 process"),
        (hosts(1, 8), {"dcn_data": 2}, "is 2, which does not divide 1 process"),
        (hosts(2, 4, "tpu"), {"dcn_fsdp": 2}, r"is 2, but the devices form 1 slice\(s"),
    ],
)
def test_more_slices_than_the_machine_has_are_refused(found, sizes, words):
    with pytest.raises(ValueError, match=words):
        arranged(found, fsdp=-1, **sizes)


def test_slices_that_no_axis_runs_over_are_refused():
    found = [Device(i, "tpu", i, slice_index=i // 4) for i in range(8)]
    with pytest.raises(ValueError, match="form 2 slice.*set mesh.dcn_data=2"):
        arranged(found, fsdp=-1)


@pytest.mark.tpu
@pytest.mark.parametrize("name", ["v5e:4x4", "v5:2x2x2", "v4:2x2x2", "tpu7x:2x2x2"])
def test_two_tpu_slices_lie_as_jax_lays_them(name, monkeypatch):
    for key, value in topology.ENVIRONMENT.items():
        monkeypatch.setenv(key, value)
    description = topologies.get_topology_desc(
        platform="tpu", topology_name=name, num_slices=2
    )
    found = list(description.devices)
    half = len(found) // 2
    built = mesh.build(found, **ONES | {"fsdp": -1, "context": 2}, dcn_data=2)
    assert dict(built.shape) == ONES | {"data": 2, "fsdp": half // 2, "context": 2}
    for index, part in enumerate(built.devices):
        assert {device.slice_index for device in part.flat} == {index}
    assert mesh.describe(built).startswith(f"{2 * half} x TPU")
    assert "in 2 slices: data 2" in mesh.describe(built)
    if not name.startswith("v4"):  # seen as two devices a chip, which JAX refuses
        theirs = mesh_utils.create_hybrid_device_mesh(
            (1, half // 2, 2, 1), (2, 1, 1, 1), found, allow_split_physical_axes=True
        )
        np.testing.assert_array_equal(built.devices, theirs)
