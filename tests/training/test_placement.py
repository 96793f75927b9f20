"""The state of every optimizer: spread over the mesh, alike on it, and resumable."""

import math

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from dit_jax.checkpoints import Checkpoints
from dit_jax.parallel import mesh
from dit_jax.training import state as state_lib
from dit_jax.training.optimizers import OPTIMIZERS
from dit_jax.training.placement import of_statistic

ONES = {"data": 1, "fsdp": 1, "context": 1, "tensor": 1}
SHAPE = (4, 4, 4, 4)
WIDE = {"model__width": "128"}  # from where Adafactor factors
# The sign of a momentum that is almost nothing differs between meshes.
CALM = {"lion": {"optimizer__learning_rate": "1e-5"}}


def num_bytes(tree):
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def bytes_per_device(tree):
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(tree)
    )


@pytest.fixture
def make(make_training):
    def make(sizes, name, **changes):
        values = WIDE | {"optimizer__name": name} | changes
        return make_training(sizes, shape=SHAPE, in_haste=True, **values)

    return make


@pytest.mark.parametrize("sizes", [{"fsdp": 8}, {"fsdp": 4, "context": 2}])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_no_device_holds_much_more_than_its_share(make, name, sizes):
    state = make(sizes, name).run.abstract_state
    flat = jax.tree_util.tree_leaves_with_path(state.opt_state)
    of_kernels = [leaf for path, leaf in flat if "kernel" in str(path[-1])]
    assert bytes_per_device(of_kernels) <= 1.2 / 8 * num_bytes(of_kernels)
    if name != "adafactor":  # whose memory of a kernel is as small as that of a bias
        everything = state.opt_state
        assert bytes_per_device(everything) <= 1.2 / 8 * num_bytes(everything)
    rest = [leaf for path, leaf in flat if "kernel" not in str(path[-1])]
    assert bytes_per_device(rest) < 0.01 * num_bytes(state.params)


def test_adafactor_remembers_far_less_than_there_are_parameters(make):
    run = make({}, "adafactor").run
    stack = run.abstract_state.params["stack"]
    rows = [
        leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(
            run.abstract_state.opt_state
        )
        if "stack" in jax.tree_util.keystr(path)
    ]
    assert num_bytes(rows) < 0.05 * num_bytes(stack)


@pytest.mark.parametrize(
    ("shape", "spec"),
    [
        ((6, 16, 32), (None, ("fsdp", "context"), "tensor")),  # as its parameter
        ((6, 16), (None, ("fsdp", "context", "tensor"))),  # what remains, and the rest
        ((6, 32), (None, ("tensor", "fsdp", "context"))),
        ((16, 32), (("fsdp", "context"), "tensor")),
        ((1,), ()),
    ],
)
def test_what_remains_of_a_parameter_keeps_its_axes(shape, spec):
    devices = mesh.build(jax.devices(), **ONES | {"fsdp": 2, "context": 2, "tensor": 2})
    entries = PartitionSpec(None, ("fsdp", "context"), "tensor")
    placed = NamedSharding(devices, entries)
    found = of_statistic(shape, (6, 16, 32), placed)
    assert found.is_equivalent_to(
        NamedSharding(devices, PartitionSpec(*spec)), len(shape)
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_losses_over_20_steps_are_equal_on_one_and_eight_devices(make, name):
    changes = CALM.get(name, {})
    alone = make({}, name, **changes)
    start = alone.start()
    losses = alone.losses(20, start)
    assert np.ptp(losses) > 1e-3
    eight = make({"data": 2, "fsdp": 2, "tensor": 2}, name, **changes)
    np.testing.assert_allclose(eight.losses(20, start), losses, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_restored_state_goes_on_bit_for_bit(make, tmp_path, name):
    training = make({"fsdp": 8}, name)
    half, _ = training.train(3)
    checkpoints = Checkpoints(tmp_path, keep=1)
    state_lib.save(checkpoints, half, 3)
    checkpoints.wait()
    restored = state_lib.restore(checkpoints, 3, training.run.abstract_state)
    checkpoints.close()
    jax.tree.map(np.testing.assert_array_equal, restored, half)
    one, two = (
        training.train(3, jax.device_get(state))[0] for state in (half, restored)
    )
    jax.tree.map(np.testing.assert_array_equal, one, two)
    moved = jax.tree.map(
        lambda a, b: np.abs(a - b).max(),
        jax.device_get(one.params),
        jax.device_get(restored.params),
    )
    assert max(jax.tree.leaves(moved)) > 0
