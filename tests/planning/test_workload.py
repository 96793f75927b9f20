"""The formulas of a transformer are what its trace counts."""

import pytest

from dit_jax.models import presets
from dit_jax.planning import published, workload

SHAPE = (16, 32, 32, 4)


def traced(name, shape=SHAPE, **values):
    model = presets.resolve(name, values) | {"preset": name}
    return workload.of_model(model, latent_shape=shape, num_classes=10, given_frames=0)


def by_formula(found, **values):
    return workload.transformer(
        "formula",
        depth=found.depth,
        width=found.width,
        num_heads=found.num_heads,
        tokens=found.tokens,
        hidden=found.hidden,
        **values,
    )


@pytest.mark.parametrize(
    "name", ["joint-tiny/1x2x2", "joint-xl/1x4x4", "joint-b/1x2x2"]
)
def test_formulas_give_the_products_of_the_traced_model(name):
    found = traced(name)
    formula = by_formula(found)
    for part in ("attention", "attention/scores", "mlp"):
        assert formula.flops[part] == found.flops[part]
    # the time embedding and the head's modulation are all that the formula leaves out
    D = found.width
    assert found.flops["conditioning"] - formula.flops["conditioning"] == (
        2 * (256 * D + 3 * D * D)
    )
    assert found.modulation == formula.modulation
    assert found.forward_flops == pytest.approx(formula.forward_flops, rel=1e-3)


def test_formulas_give_the_products_of_attention_to_text():
    found = traced("joint-tiny/1x2x2", text="cross_attention", text_length=48)
    formula = by_formula(found, context=48)
    assert formula.flops["context"] == found.flops["context"]
    assert formula.flops["context/scores"] == found.flops["context/scores"]


def test_parameters_are_those_of_the_model_and_all_have_an_axis_name():
    found = traced("joint-xl/1x2x2")
    cost = presets.cost("joint-xl/1x2x2", SHAPE, num_classes=10)
    assert found.num_params == cost.num_params
    assert sum(found.params_by_part().values()) == cost.num_params
    assert all(len(p.axes) == len(p.shape) for p in found.parameters)
    assert sum(p.num_layers > 0 for p in found.parameters) == 10
    # a third of it is modulation, which no scan holds
    hoisted = sum(p.size for p in found.parameters if p.hoisted)
    assert hoisted / found.num_params == pytest.approx(1 / 3, abs=0.01)


def test_wan_costs_what_its_trainer_logged():
    """4893.27 TFLOP a device, a clip of 75,600 tokens on four of them."""
    flops = published.wan_14b().train_flops / 4
    assert flops == pytest.approx(4893.27e12, rel=1e-3)


def test_twice_the_tokens_are_four_times_the_scores_and_twice_the_rest():
    one, two = published.wan_14b(75_600), published.wan_14b(151_200)
    scores = "attention/scores"
    assert two.flops[scores] == 4 * one.flops[scores]
    for part in ("attention", "mlp", "context/scores"):
        assert two.flops[part] == 2 * one.flops[part]
    assert two.flops["conditioning"] == one.flops["conditioning"]


def test_attention_is_half_of_the_products_at_six_widths_of_tokens():
    sizes = {"depth": 4, "width": 512, "num_heads": 8, "hidden": 2048}
    found = workload.transformer("m", tokens=6 * 512, modulated=False, **sizes)
    assert found.scores_flops == found.linear_flops


def test_published_models_have_their_published_sizes():
    assert published.wan_14b().num_params == pytest.approx(14e9, rel=0.02)
    assert published.flux_dev().num_params == pytest.approx(11.9e9, rel=0.01)
    assert published.dit_xl_2().num_params == pytest.approx(675e6, rel=1e-3)


def test_scores_are_stored_by_the_plain_form_and_by_attention_to_text_only():
    found = traced("joint-tiny/1x2x2", text="cross_attention", text_length=48)
    pairs = found.num_heads * found.tokens * 48
    assert found.stored_scores(False) == pairs
    assert found.stored_scores(True) == pairs + found.num_heads * found.tokens**2
