"""Names of machines: what they stand for, and the sentence for those that do not."""

from importlib.util import find_spec

import pytest

from dit_jax.errors import UserError
from dit_jax.parallel import chips, topology

GPU_COMPILER = find_spec("jax_cuda12_plugin") is not None


@pytest.mark.parametrize(
    ("name", "num_chips", "num_devices", "groups"),
    [
        ("v5e:16x16", 256, 256, (1, (16, 16))),
        ("2*v5e:16x16", 512, 512, (2, (16, 16))),
        ("v5p:8x8x4", 256, 256, (1, (8, 8, 4))),
        ("tpu7x:4x4x4", 64, 128, (1, (4, 4, 4))),  # two devices a chip
        ("h100:8x4", 32, 32, (8, (4,))),
    ],
)
def test_a_name_is_a_machine_and_back(name, num_chips, num_devices, groups):
    machine = topology.parse(name)
    assert machine.name == name
    assert (machine.num_chips, machine.num_devices) == (num_chips, num_devices)
    assert (machine.num_groups, machine.group_shape) == groups


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("v5e", "is not spelt CHIP:AxB[xC]; give, for example, v5e:4x4"),
        ("v5e:16", "is not a 2-dimensional torus, which v5e is; give v5e:AxB"),
        ("v5p:16x16", "is not a 3-dimensional torus, which v5p is"),
        ("h100:8", "is not hosts x GPUs, which h100 is; give h100:AxB"),
        ("v5e:0x4", "is empty; give lengths of at least 1"),
        ("0*v5e:4x4", "is empty"),
        ("2*h100:8x8", "slices, which GPUs have not; give all hosts, h100:16x8"),
        ("v5:4x4", "unknown chip 'v5'"),
        ("h10:8x8", "did you mean 'h100'?"),
    ],
)
def test_a_name_that_is_none_is_refused_with_its_remedy(name, words):
    with pytest.raises(UserError) as refusal:
        topology.parse(name)
    assert words in str(refusal.value)


def test_gpus_that_the_compiler_has_no_description_of_are_refused():
    with pytest.raises(UserError, match="plan it without --compile, or .* of h100 or"):
        topology.devices("a100:1x8")


@pytest.mark.skipif(GPU_COMPILER, reason="the GPU compiler is installed")
def test_without_the_gpu_compiler_the_sentence_names_its_target():
    with pytest.raises(UserError, match="install it with make venv-gpu"):
        topology.devices("h100:1x8")


def test_every_kind_of_device_is_of_one_chip():
    kinds = [kind for chip in chips.CHIPS.values() for kind in chip.device_kinds]
    assert len(kinds) == len(set(kinds))
    assert all(chips.of_kind(kind) is not None for kind in kinds)
    assert chips.of_kind("cpu") is None


@pytest.mark.parametrize(
    ("name", "ratio"),
    [("v4", 3056), ("v5e", 2189), ("v5p", 2550), ("v6e", 5100), ("h100", 2200)],
)
def test_flops_for_a_byte_of_one_axis_are_those_of_the_scaling_book(name, ratio):
    """Both directions of an axis of the torus; one of a switch."""
    chip = chips.CHIPS[name]
    rate = chip.links_bytes_per_s * (2 if chip.torus_dims else 1)
    assert chip.bf16_flops / rate == pytest.approx(ratio, rel=2e-3)


@pytest.mark.parametrize("chip", chips.CHIPS.values(), ids=chips.CHIPS)
def test_of_two_figures_for_a_link_the_lower_counts(chip):
    assert chip.link_bytes_per_s <= chip.link_bytes_per_s_stated


@pytest.mark.tpu
@pytest.mark.parametrize(
    "name", ["v4:2x2x1", "2*v5e:2x2", "v5p:2x2x1", "v6e:2x2", "tpu7x:2x2x1"]
)
def test_the_compiler_has_as_many_devices_of_the_kind_in_the_table(name):
    machine = topology.parse(name)
    devices = topology.devices(machine)
    assert len(devices) == machine.num_devices
    assert {chips.of_kind(device.device_kind) for device in devices} == {machine.chip}
    if machine.num_slices > 1:
        slices = {device.slice_index for device in devices}
        assert len(slices) == machine.num_slices


@pytest.mark.gpu_compiler
@pytest.mark.skipif(not GPU_COMPILER, reason="needs make venv-gpu")
@pytest.mark.parametrize("name", ["h100:2x8", "h200:1x4"])
def test_the_gpus_of_a_host_belong_to_one_process(name):
    machine = topology.parse(name)
    devices = topology.devices(machine)
    hosts, gpus = machine.shape
    assert [d.process_index for d in devices] == [
        i // gpus for i in range(hosts * gpus)
    ]
    assert {chips.of_kind(device.device_kind) for device in devices} == {machine.chip}
