"""Rules, refusals and the rows of a host."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax.parallel import mesh, sharding

ONES = {"data": 1, "fsdp": 1, "context": 1, "tensor": 1}


@pytest.fixture(scope="module")
def devices():
    return mesh.build(jax.devices(), **ONES | {"fsdp": 4, "tensor": 2})


def test_a_dim_that_does_not_divide_is_named(devices):
    params = {"w": jax.ShapeDtypeStruct((6, 8), jnp.float32)}
    with pytest.raises(ValueError, match=r"parameter w: dim 'embed' is 6.*= 4"):
        sharding.param_shardings(params, {"w": ("embed", "mlp")}, devices)


def test_a_large_parameter_must_not_be_replicated(devices):
    params = {
        "big": jax.ShapeDtypeStruct((64, 8), jnp.float32),
        "sharded": jax.ShapeDtypeStruct((64, 8), jnp.float32),
    }
    axes = {"big": ("labels", "norm"), "sharded": ("embed", "mlp")}
    with pytest.raises(ValueError, match="big .* would be copied to every device"):
        sharding.param_shardings(params, axes, devices)


def test_weights_are_sharded_over_fsdp_and_context_together():
    both = mesh.build(jax.devices(), **ONES | {"fsdp": 4, "context": 2})
    params = {"w": jax.ShapeDtypeStruct((16, 8), jnp.float32)}
    placed = sharding.param_shardings(params, {"w": ("embed", None)}, both)["w"]
    assert placed.shard_shape((16, 8)) == (2, 8)


def test_global_arrays_hold_the_rows_in_order(devices):
    rows = sharding.local_rows(devices, 8)
    np.testing.assert_array_equal(rows, np.arange(8))
    local = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    placed = sharding.to_global(devices, rows, 8, local)
    np.testing.assert_array_equal(placed, local)
    assert placed.sharding.shard_shape(placed.shape) == (2, 3)


@pytest.mark.parametrize("size", [0, 6])
def test_a_batch_that_does_not_divide_is_refused(devices, size):
    with pytest.raises(ValueError, match="not a positive multiple of the mesh's"):
        sharding.check_batch(devices, "train.batch_size", size)
