"""UniDiffuser (thu-ml/unidiffuser@845e14f): its arguments and parameter names."""

from collections.abc import Mapping
from typing import Any

from dit_jax.models.image_text import NUM_TIMES
from dit_jax.weights.design import Design
from dit_jax.weights.dit_family import linear, norm
from dit_jax.weights.layouts import TOKEN
from dit_jax.weights.mapping import Rule, Rules, Split
from dit_jax.weights.uvit import entrance, long_skips, sides

NUM_TYPES = 2  # rows of v1's table of data types


def v0(arguments: Mapping[str, Any]) -> Design:
    return _design("unidiffuser-v0", arguments)


def v1(arguments: Mapping[str, Any]) -> Design:
    """With a token for the type of the data."""
    return _design("unidiffuser-v1", arguments)


def _design(preset: str, arguments: Mapping[str, Any]) -> Design:
    side = arguments["img_size"]
    return Design(
        preset=f"{preset}/{arguments['patch_size']}",
        overrides={
            "width": arguments["embed_dim"],
            # the reference has depth // 2 blocks on each side of one in the middle
            "depth": 2 * (arguments["depth"] // 2) + 1,
            "num_heads": arguments["num_heads"],
            "mlp_ratio": float(arguments["mlp_ratio"]),
            "qkv_bias": arguments["qkv_bias"],
            "time_mlp": "sinusoids_width" if arguments["mlp_time_embed"] else "none",
            "text_dims": arguments["text_dim"],
            "text_length": arguments["num_text_tokens"],
            "clip_dims": arguments["clip_img_dim"],
        },
        latent_shape=(1, side, side, arguments["in_chans"]),
        num_classes=NUM_TYPES,
    )


def rules(design: Design) -> Rules:
    values = design.values
    _, outs = sides(values["depth"])
    found: list[Rule | Split] = [
        *entrance(design, NUM_TIMES + values["text_length"] + 1),
        *linear("embed_text", "text_embed"),
        *linear("embed_clip", "clip_img_embed"),
        # norms follow the branches: norm2 the attention, norm3 the MLP
        *long_skips(values, ("norm2", "norm3")),
        *norm("stack/merges/norm", [f"{name}.norm1" for name in outs]),
        *norm("norm", "norm"),
        *linear("out", "decoder_pred"),
        *linear("out_clip", "clip_img_out"),
        *linear("out_text", "text_out"),
    ]
    if values["data_type"]:
        found.append(Rule("data_type/table", "token_embedding.weight"))
        found.append(Rule("data_type/position", "pos_embed_token", TOKEN))
    if values["time_mlp"] != "none":
        for ours, theirs in (("time_image", "img"), ("time_text", "text")):
            found += linear(f"{ours}/hidden", f"time_{theirs}_embed.0")
            found += linear(f"{ours}/out", f"time_{theirs}_embed.2")
    return found
