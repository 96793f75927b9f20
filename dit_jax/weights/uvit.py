"""U-ViT (baofff/U-ViT@ce55170): its arguments and parameter names."""

from collections.abc import Mapping
from typing import Any

from dit_jax.models.values import num_extra
from dit_jax.weights.design import Design
from dit_jax.weights.dit_family import attention, linear, norm
from dit_jax.weights.layouts import CONV, patch_embedding
from dit_jax.weights.mapping import Rule, Rules, Split

# What the reference's constructor takes where nothing is said.
REFERENCE_DEFAULTS = {
    "mlp_ratio": 4.0,
    "qkv_bias": False,
    "mlp_time_embed": False,
    "num_classes": -1,
    "conv": True,
    "skip": True,
}


def uvit(arguments: Mapping[str, Any]) -> Design:
    """num_classes counts the null class; -1 is a model without labels."""
    num_classes = arguments.get("num_classes", REFERENCE_DEFAULTS["num_classes"])
    labels = num_classes > 0
    return _design(
        arguments, num_classes=num_classes - 1 if labels else 0, labels=labels
    )


def uvit_t2i(arguments: Mapping[str, Any]) -> Design:
    """Text tokens stand between the time and the patches."""
    return _design(
        arguments,
        num_classes=0,
        labels=False,
        text="tokens",
        text_dims=arguments["clip_dim"],
        text_length=arguments["num_clip_token"],
    )


def _design(
    arguments: Mapping[str, Any], *, num_classes: int, **overrides: Any
) -> Design:
    arguments = {**REFERENCE_DEFAULTS, **arguments}
    # the reference has depth // 2 blocks on each side of one in the middle
    depth = 2 * (arguments["depth"] // 2) + 1
    side = arguments["img_size"]
    return Design(
        preset=f"uvit-s/{arguments['patch_size']}",
        overrides={
            "width": arguments["embed_dim"],
            "depth": depth,
            "num_heads": arguments["num_heads"],
            "mlp_ratio": float(arguments["mlp_ratio"]),
            "qkv_bias": arguments["qkv_bias"],
            "time_mlp": "sinusoids_width" if arguments["mlp_time_embed"] else "none",
            "final_conv": arguments["conv"],
            "stack": "long_skips" if arguments["skip"] else "straight",
            **overrides,
        },
        latent_shape=(1, side, side, arguments["in_chans"]),
        num_classes=num_classes,
    )


def rules(design: Design) -> Rules:
    values = design.values
    found: list[Rule | Split] = [
        *entrance(design, num_extra(values)),
        *_stack(design),
        *norm("head/norm", "norm"),
        *linear("head/out", "decoder_pred"),
    ]
    if values["labels"]:
        found.append(Rule("conditioning/label/table", "label_emb.weight"))
    if values["time_mlp"] != "none":
        found += linear("conditioning/time/hidden", "time_embed.0")
        found += linear("conditioning/time/out", "time_embed.2")
    if values["text"] != "none":
        found += linear("conditioning/text/project", "context_embed")
    if values["final_conv"]:
        found.append(Rule("after/conv/kernel", "final_layer.weight", CONV))
        found.append(Rule("after/conv/bias", "final_layer.bias"))
    return found


def entrance(design: Design, extra: int) -> list[Rule | Split]:
    """The patch embedding, and positions of `extra` tokens and of the patches."""
    channels, side = design.latent_shape[-1], design.values["patch"][1]
    kernel = patch_embedding(side, channels)
    return [
        Rule("embedding/kernel", "patch_embed.proj.weight", kernel),
        Rule("embedding/bias", "patch_embed.proj.bias"),
        Split("positions/extra", "positions/patches", "pos_embed", extra),
    ]


def _stack(design: Design) -> list[Rule]:
    values = design.values
    if values["stack"] == "straight":
        ins, outs = sides(values["depth"])
        return blocks("stack/blocks", [*ins, "mid_block", *outs], values)
    return long_skips(values, ("norm1", "norm2"))


def sides(depth: int) -> tuple[list[str], list[str]]:
    """Names of the blocks before and after the middle one."""
    half = range(depth // 2)
    return [f"in_blocks.{i}" for i in half], [f"out_blocks.{i}" for i in half]


def long_skips(values: Mapping[str, Any], norms: tuple[str, str]) -> list[Rule]:
    """The whole stack. norms: what the attention's and the MLP's are called."""
    ins, outs = sides(values["depth"])
    return [
        *blocks("stack/blocks_in", ins, values, norms),
        *blocks("stack/middle", ["mid_block"], values, norms),
        *blocks("stack/blocks_out", outs, values, norms),
        *linear("stack/merges/linear", [f"{name}.skip_linear" for name in outs]),
    ]


def blocks(
    ours: str,
    theirs: list[str],
    values: Mapping[str, Any],
    norms: tuple[str, str] = ("norm1", "norm2"),
) -> list[Rule]:
    of_attention, of_mlp = norms
    return [
        *attention(
            f"{ours}/attention/layer",
            [f"{name}.attn" for name in theirs],
            values["num_heads"],
            qkv_bias=values["qkv_bias"],
        ),
        *norm(f"{ours}/attention/norm", [f"{name}.{of_attention}" for name in theirs]),
        *linear(f"{ours}/mlp/layer/hidden", [f"{name}.mlp.fc1" for name in theirs]),
        *linear(f"{ours}/mlp/layer/out", [f"{name}.mlp.fc2" for name in theirs]),
        *norm(f"{ours}/mlp/norm", [f"{name}.{of_mlp}" for name in theirs]),
    ]
