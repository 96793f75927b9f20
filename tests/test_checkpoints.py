"""Checkpoints: durable or absent, readable item by item and on another mesh."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax.checkpoints import Checkpoints
from dit_jax.errors import DataError, UserError
from dit_jax.parallel import mesh, sharding

ONES = {"data": 1, "fsdp": 1, "context": 1, "tensor": 1}


def tree(value: float) -> dict:
    return {"a": {"w": jnp.full((8, 4), value)}, "b": jnp.arange(8.0) * value}


def abstract_like(stored: dict, placed) -> dict:
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=placed), stored
    )


@pytest.fixture
def saved(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (1, 2, 3):
        trees = {"params": tree(step), "ema": tree(-step)}
        checkpoints.save(step, trees, {"next_index": 8 * step})
    checkpoints.close()
    return tmp_path


def test_the_newest_are_kept_under_plain_numbers(saved):
    names = {entry.name for entry in (saved / "checkpoints").iterdir()}
    assert names == {"2", "3"}


def test_items_are_restored_alone_and_onto_another_mesh(saved):
    eight = mesh.build(jax.devices(), **ONES | {"fsdp": 8})
    rows = sharding.batch_sharding(eight)
    restored = Checkpoints(saved).restore(3, "ema", abstract_like(tree(0), rows))
    jax.tree.map(np.testing.assert_array_equal, restored, tree(-3))
    assert restored["b"].sharding == rows


def test_facts_and_shapes_are_known_without_the_arrays(saved):
    checkpoints = Checkpoints(saved)
    assert checkpoints.facts(3) == {"next_index": 24}
    assert checkpoints.shapes(3, "params") == {"a/w": (8, 4), "b": (8,)}


def test_a_step_that_does_not_exist_is_refused(saved):
    with pytest.raises(UserError, match="has no step 1; choose one of 2, 3"):
        Checkpoints(saved).choose(1)


def test_a_run_without_checkpoints_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no checkpoint"):
        Checkpoints(tmp_path).choose(None)
    assert not (tmp_path / "checkpoints").exists()


def test_a_missing_file_is_a_data_error(saved):
    for file in (saved / "checkpoints" / "3" / "params").rglob("*"):
        if file.is_file() and file.parent.name == "d":
            file.unlink()
    whole = sharding.replicated(mesh.build(jax.devices()[:1], **ONES))
    with pytest.raises(DataError, match="cannot be read as 'params'"):
        Checkpoints(saved).restore(3, "params", abstract_like(tree(0), whole))
