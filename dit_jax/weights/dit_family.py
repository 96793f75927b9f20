"""DiT, SiT, VDT and Latte: their arguments and parameter names.

Facts of facebookresearch/DiT@ed81ce2, willisma/SiT@947f95b, RERV/VDT@cdbad2b,
VDT-2023/VDT@955d146 (given frames in front) and Vchitect/Latte@b27c24a.
"""

from collections.abc import Mapping
from typing import Any

from dit_jax.weights.design import Design
from dit_jax.weights.layouts import (
    LINEAR,
    NEGATED,
    NEGATED_LINEAR,
    SAME,
    WITHOUT_NULL,
    Layout,
    fused_heads,
    fused_heads_bias,
    patch_embedding,
)
from dit_jax.weights.mapping import Rule

# What the references' constructors take where nothing is said.
REFERENCE_DEFAULTS = {
    "input_size": 32,
    "patch_size": 2,
    "in_channels": 4,
    "hidden_size": 1152,
    "depth": 28,
    "num_heads": 16,
    "mlp_ratio": 4.0,
    "class_dropout_prob": 0.1,
    "num_classes": 1000,
    "learn_sigma": True,
    "num_frames": 16,
    "mode": "video",
    "extras": 1,
}


def dit(arguments: Mapping[str, Any]) -> Design:
    return _design("dit-s", {**arguments, "num_frames": 1})


def sit(arguments: Mapping[str, Any]) -> Design:
    return _design("sit-s", {**arguments, "num_frames": 1})


def vdt(arguments: Mapping[str, Any]) -> Design:
    """mode=image leaves the temporal branch out, as the reference does for T = 1."""
    design = _design("vdt-s", arguments)
    if arguments.get("mode") == "image":
        design.overrides.update(mixing="spatial", positions="sincos_2d")
    return design


def vdt_concat(arguments: Mapping[str, Any]) -> Design:
    """VDT with given frames in front of the noisy ones; num_frames counts both."""
    design = vdt(arguments)
    design.overrides["frames"] = "concat"
    return design


def latte(arguments: Mapping[str, Any]) -> Design:
    """extras=1: no label, extras=2: labels."""
    labels = {**REFERENCE_DEFAULTS, **arguments}["extras"] == 2
    return _design("latte-s", arguments, labels=labels)


def _design(preset: str, arguments: Mapping[str, Any], **overrides: Any) -> Design:
    given = {**REFERENCE_DEFAULTS, **arguments}
    side = given["input_size"]
    return Design(
        preset=f"{preset}/{given['patch_size']}",
        overrides={
            "width": given["hidden_size"],
            "depth": given["depth"],
            "num_heads": given["num_heads"],
            "mlp_ratio": float(given["mlp_ratio"]),
            "learn_sigma": given["learn_sigma"],
            **overrides,
        },
        latent_shape=(given["num_frames"], side, side, given["in_channels"]),
        num_classes=given["num_classes"],
        null_label=given["class_dropout_prob"] > 0,
    )


def dit_rules(design: Design) -> list[Rule]:
    return _shared(design, LINEAR, SAME)


def sit_rules(design: Design) -> list[Rule]:
    """SiT's velocity points to the data and ours to the noise: a change of sign."""
    return _shared(design, NEGATED_LINEAR, NEGATED)


def vdt_rules(design: Design) -> list[Rule]:
    rules = _shared(design, LINEAR, SAME)
    if design.values["mixing"] == "spatial":
        return rules
    blocks = "stack/blocks/temporal"
    layers = [f"blocks.{i}" for i in range(design.values["depth"])]
    heads = design.values["num_heads"]
    return [
        *rules,
        *attention(
            f"{blocks}/layer/layer", [f"{n}.temporal_attn" for n in layers], heads
        ),
        *linear(f"{blocks}/layer/linear", [f"{n}.temporal_fc" for n in layers]),
        *norm(f"{blocks}/norm", [f"{n}.temporal_norm1" for n in layers]),
    ]


def _shared(design: Design, last: Layout, last_bias: Layout) -> list[Rule]:
    values = design.values
    layers = [f"blocks.{i}" for i in range(values["depth"])]
    side, channels = values["patch"][1], design.latent_shape[-1]
    blocks = "stack/blocks"
    rules = [
        Rule(
            "embedding/kernel",
            "x_embedder.proj.weight",
            patch_embedding(side, channels),
        ),
        Rule("embedding/bias", "x_embedder.proj.bias"),
        *linear("conditioning/time/hidden", "t_embedder.mlp.0"),
        *linear("conditioning/time/out", "t_embedder.mlp.2"),
        *attention(
            f"{blocks}/attention/layer",
            [f"{name}.attn" for name in layers],
            values["num_heads"],
        ),
        *linear(f"{blocks}/mlp/layer/hidden", [f"{name}.mlp.fc1" for name in layers]),
        *linear(f"{blocks}/mlp/layer/out", [f"{name}.mlp.fc2" for name in layers]),
        *linear(
            "conditioning/delivery",
            [f"{name}.adaLN_modulation.1" for name in layers],
        ),
        *linear("conditioning/delivery/head", "final_layer.adaLN_modulation.1"),
        Rule("head/out/kernel", "final_layer.linear.weight", last),
        Rule("head/out/bias", "final_layer.linear.bias", last_bias),
    ]
    if values["labels"]:
        table = "y_embedder.embedding_table.weight"
        layout = SAME if design.null_label else WITHOUT_NULL
        rules.append(Rule("conditioning/label/table", table, layout))
    return rules


def linear(ours: str, theirs: str | list[str], *, bias: bool = True) -> list[Rule]:
    """Kernel and bias of a linear map."""
    rules = [Rule(f"{ours}/kernel", ending(theirs, "weight"), LINEAR)]
    return rules + ([Rule(f"{ours}/bias", ending(theirs, "bias"))] if bias else [])


def norm(ours: str, theirs: str | list[str]) -> list[Rule]:
    """Scale and bias of an affine norm."""
    return [
        Rule(f"{ours}/scale", ending(theirs, "weight")),
        Rule(f"{ours}/bias", ending(theirs, "bias")),
    ]


def attention(
    ours: str, theirs: str | list[str], num_heads: int, *, qkv_bias: bool = True
) -> list[Rule]:
    """Fused q, k, v and the projection of timm's attention."""
    qkv = ending(theirs, "qkv.weight")
    rules = [Rule(f"{ours}/qkv/kernel", qkv, fused_heads(num_heads))]
    if qkv_bias:
        bias = ending(theirs, "qkv.bias")
        rules.append(Rule(f"{ours}/qkv/bias", bias, fused_heads_bias(num_heads)))
    return rules + linear(f"{ours}/out", ending(theirs, "proj"))


def ending(theirs: str | list[str], end: str) -> str | list[str]:
    """Names with an ending."""
    if isinstance(theirs, str):
        return f"{theirs}.{end}"
    return [f"{name}.{end}" for name in theirs]
