import json

import pytest
from flax import nnx

from dit_jax import models
from dit_jax.models import attention, presets

NAMES = [f"{name}/1x2x2" for name in presets.PRESETS]


@pytest.mark.parametrize("name", NAMES)
def test_resolving_resolved_values_through_json_changes_nothing(name):
    resolved = presets.resolve(name, {"remat": "none", "rope_theta": 256})
    again = presets.resolve(name, json.loads(json.dumps(resolved)))
    assert again == resolved
    assert None not in resolved.values()


def test_an_override_of_none_means_the_presets_value():
    assert presets.resolve("joint-b/1x2x2", {"depth": None, "patch": None}) == (
        presets.resolve("joint-b/1x2x2")
    )


def test_an_override_reaches_the_model():
    assert presets.resolve("joint-b/1x2x2", {"depth": 3})["depth"] == 3
    model = models.abstract(
        "joint-b/1x2x2",
        latent_shape=(2, 4, 4, 4),
        num_classes=0,
        depth=3,
        patch=[2, 1, 1],
    )
    _, params = models.split(model)
    assert params["stack"]["blocks"]["mlp"]["layer"]["hidden"]["kernel"].shape == (
        3,
        768,
        3072,
    )
    assert params["embedding"]["kernel"].shape == (8, 768)


def test_the_rope_split_follows_the_heads():
    resolve = presets.resolve
    assert resolve("joint-xl/1x2x2")["rope_split"] == [24, 24, 24]
    assert resolve("joint-xl/1x2x2", {"num_heads": 9})["rope_split"] == [44, 42, 42]


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("joint-bb/1x2x2", {}, r"model.preset is 'joint-bb'.*did you mean 'joint-b'"),
        ("joint-b", {}, r"'joint-b' has no patch .* 'joint-b/1x2x2'"),
        ("dit-s/2", {"mixing": "jiont"}, r"model.mixing is 'jiont'.*mean 'joint'"),
        ("uvit-s/2", {"depth": 12}, r"model.depth is 12.* odd"),
        (
            "vdt-s/2",
            {"conditioning": "in_context"},
            r"model.mixing=vdt has no .* joint",
        ),
        (
            "dit-s/2",
            {"block": "post_norm"},
            r"model.conditioning from cross_attention, in_context or set model.block",
        ),
        ("window-s/2", {"stack": "long_skips"}, r"long_skips needs equal blocks"),
        ("joint-b/2", {"window": [0, 1, 1]}, r"model.window is \(0, 1, 1\)"),
        ("joint-b/2", {"text_length": 0}, r"model.text_length is 0"),
        ("joint-b/2x2", {}, r"has no patch"),
        ("joint-b/1x0x2", {}, r"has no patch"),
        ("joint-b/1x2x2", {"detph": 3}, r"model.detph .*did you mean 'depth'"),
        ("joint-b/1x2x2", {"depth": "3"}, r"model.depth is '3'; .* of type int"),
        ("joint-b/1x2x2", {"depth": True}, r"model.depth is True"),
        ("joint-b/1x2x2", {"patch": [2, 2]}, r"model.patch is \[2, 2\]; .* three"),
        ("joint-b/1x2x2", {"patch": [0, 1, 1]}, r"model.patch is \(0, 1, 1\); .* 1"),
        ("joint-b/1x2x2", {"mlp_ratio": -1}, r"model.mlp_ratio is -1.0; .* above 0"),
        ("joint-b/1x2x2", {"mlp_ratio": 0.0}, r"model.mlp_ratio is 0.0; .* above 0"),
        ("joint-b/1x2x2", {"rope_theta": 0}, r"model.rope_theta is 0.0; .* above 0"),
        ("joint-b/1x2x2", {"rope_theta": -9.0}, r"model.rope_theta is -9.0"),
        ("joint-b/1x2x2", {"label_scale": -1.0}, r"model.label_scale is -1.0"),
        ("joint-b/1x2x2", {"label_scale": float("nan")}, r"label_scale is nan; .*fini"),
        ("joint-b/1x2x2", {"mlp_ratio": float("inf")}, r"mlp_ratio is inf; .* finite"),
        ("joint-b/1x2x2", {"num_heads": 7}, r"model.num_heads 7 .* divide the width"),
        ("joint-b/1x2x2", {"depth": 0}, r"model.depth 0"),
        ("joint-b/1x2x2", {"rope_split": [22, 20, 20]}, r"sum to 64, such as \(24"),
        ("joint-b/1x2x2", {"width": 60}, r"5 channels .* model.num_heads"),
    ],
)
def test_a_wrong_name_or_value_is_one_sentence_with_a_remedy(name, overrides, message):
    with pytest.raises(ValueError, match=message):
        presets.resolve(name, overrides)


def test_an_unknown_attention_is_named_with_the_choices():
    arguments = {"latent_shape": (2, 4, 4, 4), "num_classes": 0, "rngs": nnx.Rngs(0)}
    with pytest.raises(ValueError, match="'flash'.*chunked, cudnn, splash, xla"):
        presets.build("joint-tiny/1x2x2", attention="flash", **arguments)


def test_an_attention_function_takes_the_place_of_a_name(small, inputs):
    calls = []

    def mine(q, k, v, segment_ids):
        calls.append(q.shape)
        return attention.xla(q, k, v, segment_ids)

    models.apply(*small(attention=mine), *inputs)
    assert set(calls) == {(2, 12, 2, 24)}


def test_one_number_is_a_patch_of_one_frame():
    assert presets.resolve("dit-xl/2")["patch"] == [1, 2, 2]
