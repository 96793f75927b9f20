import math

import jax
import jax.numpy as jnp
import pytest

from dit_jax import models, types
from dit_jax.models import presets

SHAPE = (4, 8, 8, 16)
CASES = [f"{name}/{patch}" for name in presets.PRESETS for patch in ("1x2x2", "2x4x1")]
# Trainable parameters and multiply-adds of DiT, 1000 classes, learned sigma, 32x32x4,
# measured on the authors' module (facebookresearch/DiT@ed81ce2).
DIT = {
    "joint-s/1x2x2": (32_865_056, 6_055_673_856),
    "joint-l/1x2x2": (457_840_672, 80_697_622_528),
    "joint-xl/1x2x2": (674_834_720, 118_621_421_568),
    "joint-xl/1x4x4": (675_000_704, 29_043_671_040),
    "joint-xl/1x8x8": (675_664_640, 7_392_411_648),
}


def counted_macs(jaxpr, times=1):
    """Multiply-adds of every matrix product in a program, scans multiplied out."""
    total = 0
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "dot_general":
            (contract, _), _ = eqn.params["dimension_numbers"]
            lhs = eqn.invars[0].aval.shape
            depth = math.prod(lhs[dim] for dim in contract)
            total += times * depth * math.prod(eqn.outvars[0].aval.shape)
        inner = times * eqn.params.get("length", 1)
        for value in eqn.params.values():
            if hasattr(value, "jaxpr") or hasattr(value, "eqns"):
                total += counted_macs(getattr(value, "jaxpr", value), inner)
    return total


@pytest.mark.parametrize("name", CASES)
def test_parameters_are_exactly_those_of_the_built_model(name):
    model = models.abstract(name, latent_shape=SHAPE, num_classes=5)
    leaves = jax.tree.leaves(models.split(model)[1])
    expected = presets.cost(name, SHAPE, num_classes=5).num_params
    assert sum(math.prod(leaf.shape) for leaf in leaves) == expected


@pytest.mark.parametrize("name", CASES)
def test_multiply_adds_are_exactly_those_of_the_traced_forward(name):
    model = models.abstract(name, latent_shape=SHAPE, num_classes=5, out_channels=32)
    graphdef, params = models.split(model)
    x, t = jnp.zeros((1, *SHAPE)), jnp.zeros((1,))
    label = types.Conditioning(label=jnp.zeros((1,), jnp.int32))
    forward = jax.make_jaxpr(models.apply, static_argnums=0)
    traced = counted_macs(forward(graphdef, params, x, t, label).jaxpr)
    cost = presets.cost(name, SHAPE, num_classes=5, out_channels=32)
    assert cost.forward_macs == traced
    assert cost.train_flops == 6 * traced


@pytest.mark.parametrize("name", DIT)
def test_without_qk_norm_one_frame_costs_what_dit_costs(name):
    cost = presets.cost(
        name, (1, 32, 32, 4), num_classes=1000, out_channels=8, qk_norm=False
    )
    params, macs = DIT[name]
    assert cost.num_params == params
    assert cost.forward_macs == macs


def test_attention_is_half_of_the_linear_work_and_scores_at_six_d_tokens():
    """4 N^2 D against 24 D^2 N: equal at N = 6 D."""
    cost = presets.cost("joint-tiny/1x1x1", (1, 1, 6 * 192, 4), num_classes=0)
    linear = cost.macs["attention_linear"] + cost.macs["mlp"]
    assert cost.macs["attention_scores"] == linear
