"""A reference constructor's arguments, read off the shapes of its parameters.

What shapes do not tell (the number of heads; where text ends and patches begin) is that
of the published model of the same sizes, or is given as a value of `model.*`.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from dit_jax.errors import UserError
from dit_jax.models.presets import PRESETS
from dit_jax.weights.mapping import Named, listed

Arguments = dict[str, Any]
Given = Mapping[str, Any]
PUBLISHED_TEXT = 77  # tokens of CLIP's text encoder
DIT_SIGNS = ("x_embedder.proj.weight", "pos_embed", "final_layer.linear.weight")
UVIT_SIGNS = ("patch_embed.proj.weight", "pos_embed", "decoder_pred.weight")


def dit(theirs: Named, given: Given) -> Arguments:
    """Also of SiT, whose constructor is DiT's."""
    return _dit("dit", theirs, given)


def sit(theirs: Named, given: Given) -> Arguments:
    return _dit("sit", theirs, given)


def vdt(theirs: Named, given: Given) -> Arguments:
    """mode=image: no block has a temporal branch."""
    frames = shape(theirs, "time_embed", 3)[1] if "time_embed" in theirs else 1
    mode = "video" if any(".temporal_attn." in name for name in theirs) else "image"
    return _dit("vdt", theirs, given) | {"num_frames": frames, "mode": mode}


def latte(theirs: Named, given: Given) -> Arguments:
    """extras=1: no label, extras=2: labels."""
    labels = "y_embedder.embedding_table.weight" in theirs
    return _dit("latte", theirs, given) | {
        "num_frames": shape(theirs, "temp_embed", 3)[1],
        "extras": 2 if labels else 1,
    }


def _dit(family: str, theirs: Named, given: Given) -> Arguments:
    width, channels, side, _ = shape(theirs, "x_embedder.proj.weight", 4)
    depth = _count(theirs, "blocks")
    table = "y_embedder.embedding_table.weight"
    out = shape(theirs, "final_layer.linear.weight", 2)[0]
    return {
        "input_size": side * _square(shape(theirs, "pos_embed", 3)[1]),
        "patch_size": side,
        "in_channels": channels,
        "hidden_size": width,
        "depth": depth,
        "num_heads": _num_heads(family, depth, width, given),
        "mlp_ratio": shape(theirs, "blocks.0.mlp.fc1.weight", 2)[0] / width,
        # the last row is the null label
        "num_classes": _rows(theirs, table) - 1 if table in theirs else 0,
        "learn_sigma": out == 2 * side * side * channels,
    }


def uvit(theirs: Named, given: Given) -> Arguments:
    """num_classes counts the null label; -1: no labels."""
    labels = "label_emb.weight" in theirs
    rows = _rows(theirs, "label_emb.weight") if labels else -1
    tokens = shape(theirs, "pos_embed", 3)[1] - 1 - labels
    return _uvit(theirs, given, tokens) | {"num_classes": rows}


def uvit_t2i(theirs: Named, given: Given) -> Arguments:
    """Where no model.text_length is given, texts are as long as the published ones."""
    tokens = shape(theirs, "pos_embed", 3)[1] - 1
    length = given.get("text_length") or PUBLISHED_TEXT
    if tokens <= length:
        raise UserError(
            f"the file has positions for {tokens} tokens of text and patches, which is "
            f"not the published model of {PUBLISHED_TEXT} text tokens; add "
            "--config.model.text_length=N"
        )
    return _uvit(theirs, given, tokens - length) | {
        "clip_dim": shape(theirs, "context_embed.weight", 2)[1],
        "num_clip_token": length,
    }


def _uvit(theirs: Named, given: Given, num_patches: int) -> Arguments:
    width, channels, side, _ = shape(theirs, "patch_embed.proj.weight", 4)
    half = _count(theirs, "in_blocks")
    return {
        "img_size": side * _square(num_patches),
        "patch_size": side,
        "in_chans": channels,
        "embed_dim": width,
        "depth": 2 * half,
        "num_heads": _num_heads("uvit", 2 * half + 1, width, given),
        "mlp_ratio": shape(theirs, "mid_block.mlp.fc1.weight", 2)[0] / width,
        "qkv_bias": "mid_block.attn.qkv.bias" in theirs,
        "mlp_time_embed": "time_embed.0.weight" in theirs,
        "conv": "final_layer.weight" in theirs,
        "skip": any(".skip_linear." in name for name in theirs),
    }


def shape(theirs: Named, name: str, rank: int) -> tuple[int, ...]:
    """The shape of a parameter that tells sizes; UserError when it cannot."""
    if name not in theirs:
        raise UserError(
            f"the file lacks {name}, which tells the sizes of the model; it has "
            f"{listed(sorted(theirs))}"
        )
    if theirs[name].ndim != rank:
        raise UserError(
            f"the file's {name} is {theirs[name].shape}, wanted {rank} dims; give the "
            "weights of the system that was named"
        )
    return theirs[name].shape


def _rows(theirs: Named, table: str) -> int:
    rows = shape(theirs, table, 2)[0]
    if rows < 1:
        raise UserError(
            f"the file's {table} has no rows, wanted at least one for no label; get "
            "the file again"
        )
    return rows


def _count(theirs: Named, prefix: str) -> int:
    """How many blocks there are; a gap among them is found when names are compared."""
    pattern = re.compile(rf"{prefix}\.(\d+)\.")
    found = [pattern.match(name) for name in theirs]
    return len({int(match[1]) for match in found if match})


def _square(num_patches: int) -> int:
    side = math.isqrt(num_patches)
    if side * side != num_patches:
        raise UserError(
            f"the file has positions for {num_patches} patches, which make no square, "
            "as the published models have; such weights cannot be taken over"
        )
    return side


def _num_heads(family: str, depth: int, width: int, given: Given) -> int:
    if given.get("num_heads"):
        return given["num_heads"]
    found = published(family, depth, width)
    if not found:
        raise UserError(
            f"no published {family} has {depth} blocks of width {width}, so the number "
            "of heads is unknown; add --config.model.num_heads=N"
        )
    return PRESETS[found[0]]["num_heads"]


def published(family: str, depth: int, width: int) -> Sequence[str]:
    """The presets of a family that have these sizes."""
    return [
        name
        for name, values in PRESETS.items()
        if name.startswith(f"{family}-")
        and (values["depth"], values["width"]) == (depth, width)
    ]
