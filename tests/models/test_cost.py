import json
import math
import re
from pathlib import Path

import jax
import pytest

from dit_jax import models
from dit_jax.models import presets
from dit_jax.weights import unidiffuser, uvit

FACTS = json.loads(
    (Path(__file__).parents[1] / "golden" / "full_size_facts.json").read_text()
)["entries"]
SMALL = {"width": 48, "num_heads": 2, "depth": 5}


def of_fact(name):
    """The preset, latent shape and sizes that an entry of the facts names."""
    fact = FACTS[name]
    if "config" in fact:
        design = system_of(name, fact["config"])(fact["config"])
        sizes = {"num_classes": design.num_classes, **design.overrides}
        return design.preset, design.latent_shape, sizes
    family, size, patch = re.match(r"(\w+)-(\w+)/(\d)", name).groups()
    *frames, side, _, channels = map(int, re.findall(r"\d+", name.split()[1]))
    preset = f"{family.lower()}-{size.lower()}/{patch}"
    classes = {"DiT": 1000, "VDT": 1, "Latte": 101}[family]
    overrides = {"labels": False} if "extras=1" in fact["input"] else {}
    shape = (frames[0] if frames else 1, side, side, channels)
    return preset, shape, {"num_classes": classes, **overrides}


def system_of(name, config):
    if name.startswith("UniDiffuser"):
        return {"v0": unidiffuser.v0, "v1": unidiffuser.v1}[name.split()[1]]
    return uvit.uvit_t2i if "clip_dim" in config else uvit.uvit


@pytest.mark.parametrize("name", FACTS)
def test_a_published_model_has_its_parameters_and_multiply_adds(name):
    """Counted by the references' own modules."""
    preset, shape, sizes = of_fact(name)
    cost = presets.cost(preset, shape, **sizes)
    assert cost.num_params == FACTS[name]["params_trainable"]
    assert math.isclose(cost.published_macs, FACTS[name]["macs"], rel_tol=1e-3)
    # only Latte's reference repeats a projection that is made once here
    assert (cost.repeated_macs > 0) == name.startswith("Latte")


@pytest.mark.parametrize("name", ["joint-b/1x2x2", "uvit-s/2", "vdt-s/2"])
def test_parameters_by_part_sum_to_those_of_the_built_model(name):
    shape = (2, 8, 8, 4)
    model = models.abstract(name, latent_shape=shape, num_classes=5, **SMALL)
    leaves = jax.tree.leaves(models.split(model)[1])
    cost = presets.cost(name, shape, num_classes=5, **SMALL)
    assert sum(math.prod(leaf.shape) for leaf in leaves) == cost.num_params
    assert cost.train_flops == 6 * cost.forward_macs


def test_the_joint_transformer_costs_what_its_formulas_say():
    """Letters: L layers, D width, N tokens, P numbers of a patch."""
    L, D, N, P = 6, 192, 4 * 4 * 4, 1 * 2 * 2 * 16
    cost = presets.cost("joint-tiny/1x2x2", (4, 8, 8, 16), num_classes=5)
    assert cost.macs["embedding"] == N * P * D
    assert cost.macs["attention"] == L * N * 4 * D * D
    assert cost.macs["attention/scores"] == L * 2 * N * N * D
    assert cost.macs["mlp"] == L * N * 8 * D * D
    assert cost.macs["conditioning"] == (6 * L + 2) * D * D + 256 * D + D * D
    assert cost.macs["head"] == N * D * P
    assert cost.params["mlp"] == L * (8 * D * D + 5 * D)
    assert cost.num_tokens == N


@pytest.mark.parametrize("attention", ["xla", "chunked"])
def test_scores_are_counted_inside_the_loops_of_every_attention(attention):
    cost = presets.cost(
        "joint-tiny/1x1x1", (1, 32, 32, 4), num_classes=0, attention=attention
    )
    assert cost.macs["attention/scores"] == 6 * 2 * 1024**2 * 192


def test_factorised_attention_costs_fewer_scores_by_the_sites_it_leaves_out():
    def scores(mixing, part):
        arguments = {"num_classes": 0, "mixing": mixing}
        cost = presets.cost("joint-tiny/1x1x1", (8, 4, 4, 4), **arguments)
        return cost.macs[part]

    joint = scores("joint", "attention/scores")
    assert scores("spatial_temporal", "attention/scores") * 8 == joint
    assert scores("spatial_temporal", "temporal/scores") * 16 == joint


@pytest.mark.parametrize(
    ("conditioning", "millions"),
    [
        ("in_context", 449),
        ("cross_attention", 598),
        ("adaln", 600),
        ("adaln_zero", 675),
    ],
)
def test_the_four_conditionings_have_the_published_sizes(conditioning, millions):
    """DiT-XL/2, arXiv:2212.09748, figure 4 and table 4."""
    cost = presets.cost(
        "dit-xl/2", (1, 32, 32, 4), num_classes=1000, conditioning=conditioning
    )
    assert round(cost.num_params / 1e6) == millions
