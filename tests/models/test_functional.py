import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax import models
from dit_jax.models import presets

SMALL = {"latent_shape": (2, 4, 6, 3), "num_classes": 3}


def test_apply_works_inside_jit_grad_and_a_scan(small, inputs):
    graphdef, params = small()
    x, t, told = inputs

    def sampler(params, x):
        def step(x, t):
            out = models.apply(graphdef, params, x, jnp.full((2,), t), told)
            return x - 0.1 * out, None

        return jax.lax.scan(step, x, jnp.array([0.9, 0.5]))[0]

    by_hand = x
    for time in (0.9, 0.5):
        out = models.apply(graphdef, params, by_hand, jnp.full((2,), time), told)
        by_hand = by_hand - 0.1 * out
    np.testing.assert_allclose(jax.jit(sampler)(params, x), by_hand, atol=1e-5)
    gradient = jax.jit(jax.grad(lambda p: jnp.sum(sampler(p, x) ** 2)))(params)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient))


def test_every_parameter_receives_a_gradient(small, inputs):
    graphdef, params = small()
    loss = lambda p: jnp.mean(models.apply(graphdef, p, *inputs) ** 2)  # noqa: E731
    gradient, _ = jax.tree.flatten_with_path(jax.grad(loss)(params))
    unused = [jax.tree_util.keystr(path) for path, leaf in gradient if not leaf.any()]
    assert unused == []


def test_params_are_a_plain_dict_addressed_by_path(small):
    _, params = small()
    kernel = params["stack"]["blocks"]["attention"]["layer"]["qkv"]["kernel"]
    assert type(params) is dict and isinstance(kernel, jax.Array)


def test_an_abstract_model_has_the_structure_of_a_built_one_and_no_arrays():
    graphdef, params = models.split(models.abstract("joint-xl/1x2x2", **SMALL))
    again, _ = models.split(models.abstract("joint-xl/1x2x2", **SMALL))
    assert graphdef == again and hash(graphdef) == hash(again)
    leaves = jax.tree.leaves(params)
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves)


def test_the_same_seed_gives_the_same_parameters_and_another_seed_others(small):
    (_, first), (_, same), (_, other) = (
        small(fresh=True, seed=seed) for seed in (0, 0, 1)
    )
    jax.tree.map(np.testing.assert_array_equal, first, same)
    moved = np.abs(first["embedding"]["kernel"] - other["embedding"]["kernel"])
    assert moved.max() > 0.1


@pytest.mark.parametrize("name", presets.PRESETS)
def test_every_parameter_names_every_one_of_its_dims(name):
    model = models.abstract(f"{name}/1x2x2", **SMALL)
    _, params = models.split(model)
    axes = models.logical_axes(model)
    names = jax.tree.map(lambda leaf, axes: (len(leaf.shape), axes), params, axes)
    for rank, dims in jax.tree.leaves(names, is_leaf=lambda x: isinstance(x, tuple)):
        assert rank == len(dims) and all(isinstance(dim, str | None) for dim in dims)


def test_scanned_parameters_and_only_they_lead_with_the_layers():
    axes = models.logical_axes(models.abstract("joint-tiny/1x2x2", **SMALL))
    is_axes = lambda node: isinstance(node, tuple)  # noqa: E731
    scanned = {
        "stack": axes["stack"],
        "hoisted": axes["conditioning"]["delivery"]["kernel"],
    }
    for dims in jax.tree.leaves(scanned, is_leaf=is_axes):
        assert dims[0] == "layers" and "layers" not in dims[1:]
    for room in ("embedding", "head"):
        for dims in jax.tree.leaves(axes[room], is_leaf=is_axes):
            assert "layers" not in dims
