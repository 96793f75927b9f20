"""Weights of another run: taken by name, or refused with a list."""

import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax.checkpoints import Checkpoints
from dit_jax.errors import UserError
from dit_jax.parallel import mesh
from dit_jax.training import warm_start

THEIRS = {"body": {"w": jnp.full((4, 2), 3.0)}, "head": {"w": jnp.full((2, 5), 4.0)}}
OURS = {"body": {"w": jnp.zeros((4, 2))}, "head": {"w": jnp.zeros((2, 7))}}


@pytest.fixture
def source(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=3)
    for step, factor in ((5, 1.0), (9, 2.0)):
        ema = {k: {"w": v["w"] * factor} for k, v in THEIRS.items()}
        checkpoints.save(step, {"ema": ema, "params": THEIRS}, {})
    checkpoints.close()
    return tmp_path


@pytest.fixture(scope="module")
def one_device():
    import jax

    return mesh.build(jax.devices()[:1], data=1, fsdp=1, context=1, tensor=1)


def load(source, mesh, **changes):
    options = {"weights": "ema", "allow": ()} | changes
    return warm_start.load(str(source), OURS, mesh, **options)


def test_shapes_that_differ_are_refused_by_name(source, one_device):
    with pytest.raises(UserError, match=r"head/w is \(2, 5\) there, \(2, 7\) here"):
        load(source, one_device)


def test_allowed_differences_keep_their_fresh_values(source, one_device):
    params, kept = load(source, one_device, allow=("^head/",))
    assert kept == ["head/w"]
    np.testing.assert_array_equal(params["body"]["w"], np.full((4, 2), 6.0))
    np.testing.assert_array_equal(params["head"]["w"], np.zeros((2, 7)))


def test_step_and_weights_can_be_chosen(source, one_device):
    at_five, _ = load(f"{source}@5", one_device, allow=("head",))
    np.testing.assert_array_equal(at_five["body"]["w"], np.full((4, 2), 3.0))
    raw, _ = load(source, one_device, allow=("head",), weights="params")
    np.testing.assert_array_equal(raw["body"]["w"], np.full((4, 2), 3.0))


@pytest.mark.parametrize("name", ["@x", "@7"])
def test_a_wrong_step_is_refused(source, one_device, name):
    with pytest.raises(UserError, match="holds no checkpoint|has no step 7"):
        load(f"{source}{name}", one_device)
