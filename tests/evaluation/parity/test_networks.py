"""Golden files of other repositories, and what must not pass."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from dit_jax.evaluation.parity import golden, networks

GOLDEN = Path(__file__).parents[2] / "golden"
SYSTEMS = ("dit", "sit", "vdt", "latte", "uvit", "unidiffuser")
FILES = sorted(
    path
    for path in GOLDEN.glob("*.safetensors")
    if path.stem.split("_")[0] in SYSTEMS and golden.read(path).params
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_reference_network_is_ours_under_another_name(path):
    case = golden.read(path)
    differences = golden.compare(case, networks.runner(case)(case))
    assert {d.name for d in differences} == set(case.outputs)
    assert all(d.passed for d in differences), differences
    assert not case.params.unused and not case.inputs.unused


def test_a_small_change_of_one_parameter_does_not_pass():
    case = golden.read(GOLDEN / "dit_forward_p2.safetensors")
    moved = golden.Tracked(case.params)
    moved["blocks.1.mlp.fc1.bias"] = moved["blocks.1.mlp.fc1.bias"] + 1e-3
    case = dataclasses.replace(case, params=moved)
    (out,) = golden.compare(case, networks.forward(case))
    assert not out.passed


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("blocks.0.attn.qkv.weight", "lacks blocks.0.attn.qkv.weight"),
        (None, "has unknown extra.weight"),
    ],
)
def test_a_name_too_few_or_too_many_is_listed(name, message):
    case = golden.read(GOLDEN / "dit_forward_p2.safetensors")
    params = dict(case.params)
    params.pop(name) if name else params.update({"extra.weight": np.zeros(3)})
    case = dataclasses.replace(case, params=golden.Tracked(params))
    with pytest.raises(ValueError, match=message):
        networks.forward(case)


@pytest.mark.parametrize("name", ["sit_forward", "vdt_forward_p2", "uvit_class_conv"])
def test_names_and_layouts_come_back_bit_for_bit(name):
    case = golden.read(GOLDEN / f"{name}.safetensors")
    network = networks.Network(case)
    theirs = networks.mapping.to_theirs(network.rules, network.params)
    tables = set(network.system.fixed)
    assert set(theirs) == set(case.params) - tables
    for key, array in theirs.items():
        np.testing.assert_array_equal(array, dict(case.params)[key])
        assert array.dtype == np.float32


def passes(case):
    return all(d.passed for d in golden.compare(case, networks.runner(case)(case)))


def test_any_number_of_masks_is_run_and_their_inputs_are_those_that_the_name_counts():
    case = golden.read(GOLDEN / "vdt_masked_forward_types0to6.safetensors")
    kept = [6, 1, 3]
    inputs = golden.Tracked(
        dict(case.inputs) | {"mask": dict(case.inputs)["mask"][kept]}
    )
    recorded = case.outputs["model_input_of_mask_2_and_6"]
    outputs = {
        "out": case.outputs["out"][kept],
        "model_input_of_mask_0": recorded[1:],  # the former 6
    }
    assert passes(dataclasses.replace(case, inputs=inputs, outputs=outputs))
    wrong = outputs | {"model_input_of_mask_0": recorded[:1]}
    assert not passes(dataclasses.replace(case, inputs=inputs, outputs=wrong))


def test_a_table_without_a_row_for_no_label_is_read_and_written():
    case = golden.read(GOLDEN / "dit_forward_p2.safetensors")
    name = "y_embedder.embedding_table.weight"
    seen = dict(case.inputs)["y"].max()
    params = golden.Tracked(case.params)
    params[name] = params[name][: seen + 1]
    model = case.config["model"] | {
        "class_dropout_prob": 0.0,
        "num_classes": int(seen) + 1,
    }
    case = dataclasses.replace(case, params=params, config={"model": model})
    assert passes(case)
    network = networks.Network(case)
    theirs = networks.mapping.to_theirs(network.rules, network.params)
    np.testing.assert_array_equal(theirs[name], params[name])


def test_what_a_constructor_was_not_told_is_its_default():
    case = golden.read(GOLDEN / "dit_forward_p2.safetensors")
    model = dict(case.config["model"])
    for name in ("learn_sigma", "mlp_ratio", "class_dropout_prob", "patch_size"):
        model.pop(name)
    assert passes(dataclasses.replace(case, config={"model": model}))


def test_guidance_of_a_system_without_any_has_no_runner():
    case = golden.read(GOLDEN / "vdt_forward_p2.safetensors")
    config = case.config | {"cfg_scale": 3.0}
    assert networks.runner(dataclasses.replace(case, config=config)) is None


def test_a_kind_that_nothing_covers_has_no_runner():
    case = golden.read(GOLDEN / "frechet_n64_d16.safetensors")
    assert networks.runner(case) is None
