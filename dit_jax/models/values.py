"""A design as a flat table of values: its defaults, and what may stand together.

`DEFAULTS` is the joint spacetime transformer; a preset states what it does otherwise.
"""

from collections.abc import Mapping
from typing import Any

from dit_jax.errors import UserError, choose
from dit_jax.models.attention import ATTENTIONS
from dit_jax.models.blocks import PreNorm
from dit_jax.models.choices import (
    CHOICES,
    CONDITIONINGS,
    FRAMES,
    STACKS,
    STREAMS,
    TEXTS,
    UNMODULATED,
)
from dit_jax.models.mixings import MIXINGS
from dit_jax.models.positions import axis_split
from dit_jax.models.remat import OF_ATTENTION

DEFAULTS: dict[str, Any] = {
    "patch": (1, 2, 2),  # from the preset's name
    "width": 0,
    "depth": 0,
    "num_heads": 0,
    "mlp_ratio": 4.0,
    "conditioning": "adaln_zero",
    "mixing": "joint",
    "window": (2, 4, 4),  # tokens, for mixing=windows
    "levels": 3,  # for mixing=multi_resolution
    "stack": "straight",
    "streams": "video",
    "clip_dims": 512,  # of streams=image_text
    "data_type": False,  # of streams=image_text: a token that says what an example is
    "text": "none",
    "text_dims": 384,
    "text_length": 64,
    "frames": "none",  # how clean first frames are told
    "norm": "plain",  # of branches without modulation: plain | affine | affine_1e-5
    "block": "pre_norm",  # of branches without modulation: pre_norm | post_norm
    "qkv_bias": True,
    "gelu": "tanh",
    "qk_norm": "rms",
    "qk_norm_width": "head",
    "rotary": True,
    "rope_split": None,  # channels of a head for t, h, w
    "rope_theta": 1e4,
    "positions": "sincos_3d",  # with rotary alone small models mix up where a patch is
    "position_scale": 1.0,
    "time": "continuous",
    "time_mlp": "sinusoids_256",
    "labels": True,  # False: the model has no label table
    "label_scale": 1.0,  # standard deviation of the label table at init
    "temporal_zero_init": False,  # of vdt's extra map
    "init": "xavier",
    "zero_init_head": True,
    "final_conv": False,
    "learn_sigma": False,  # twice the channels out; the second half is the variance
    "remat": "full",  # what a layer keeps for its backward pass
    "attention": "auto",
}


def complete(values: Mapping[str, Any]) -> dict[str, Any]:
    """Derived values filled in; names no table has and contradictions are refused."""
    for key, table in CHOICES.items():
        choose(table, values[key], f"model.{key}")
    width, num_heads = values["width"], values["num_heads"]
    if min(width, num_heads, values["depth"]) < 1 or width % num_heads:
        raise UserError(
            f"model.width {width}, model.num_heads {num_heads} and model.depth "
            f"{values['depth']} do not make a model; change them so that all are "
            "positive and the heads divide the width"
        )
    _check_numbers(values)
    _check_parts(values)
    return {**values, "rope_split": _rope_split(values)}


def _rope_split(values: Mapping[str, Any]) -> tuple[int, ...]:
    head_dim = values["width"] // values["num_heads"]
    if not values["rotary"]:
        return (head_dim, 0, 0)
    split = tuple(values["rope_split"] or axis_split(head_dim))
    if sum(split) != head_dim or any(dims % 2 or dims < 0 for dims in split):
        raise UserError(
            f"model.rope_split {split} does not fit heads of {head_dim} channels; "
            f"change it to even numbers that sum to {head_dim}, such as "
            f"{axis_split(head_dim)}"
        )
    return split


def _check_numbers(values: Mapping[str, Any]) -> None:
    """UserError for sizes that divide by zero or leave no model."""
    triples = {"patch": values["patch"], "window": values["window"]}
    for key, triple in triples.items():
        if min(triple) < 1:
            raise UserError(
                f"model.{key} is {tuple(triple)}; change it to three whole numbers "
                "(t, h, w) of at least 1"
            )
    if int(values["width"] * values["mlp_ratio"]) < 1:
        raise UserError(
            f"model.mlp_ratio is {values['mlp_ratio']}; change it to a number above 0, "
            "such as 4"
        )
    if values["rope_theta"] <= 0:
        raise UserError(
            f"model.rope_theta is {values['rope_theta']}; change it to a number above "
            "0, such as 10000"
        )
    if values["label_scale"] < 0:
        raise UserError(
            f"model.label_scale is {values['label_scale']}; change it to at least 0"
        )
    for key in ("levels", "text_dims", "text_length", "clip_dims"):
        if values[key] < 1:
            raise UserError(f"model.{key} is {values[key]}; change it to at least 1")


def _check_parts(values: Mapping[str, Any]) -> None:
    """UserError for parts that do not go together."""
    for key, names in STREAMS[values["streams"]].items():
        if values[key] not in names:
            raise UserError(
                f"model.streams={values['streams']} goes with model.{key}="
                f"{' or '.join(names)}, not {values[key]}; change one of them"
            )
    mixing = MIXINGS[values["mixing"]]
    if num_extra(values) and not mixing.takes_extra:
        takes = ", ".join(name for name, m in MIXINGS.items() if m.takes_extra)
        raise UserError(
            f"model.conditioning={values['conditioning']} with model.text="
            f"{values['text']} puts tokens in front of the patches, which "
            f"model.mixing={values['mixing']} has no place for; change model.mixing to "
            f"{takes}, or take model.conditioning from {_without_extra()} and "
            "model.text other than tokens"
        )
    form = choose(ATTENTIONS, values["attention"], "model.attention")
    if values["remat"] in OF_ATTENTION and form.writes_scores:
        raise UserError(
            f"model.remat={values['remat']} keeps the output of attention, which "
            f"model.attention={values['attention']} computes again all the same; "
            "change model.attention to auto, chunked, cudnn or splash, or set "
            "model.remat=full"
        )
    if STACKS[values["stack"]].paired:
        _check_pairs(values)
    modulated = CONDITIONINGS[values["conditioning"]].branch is not None
    if modulated and UNMODULATED[values["block"]] is not PreNorm:
        plain = [name for name, way in CONDITIONINGS.items() if way.branch is None]
        raise UserError(
            f"model.block={values['block']} is of branches without modulation, but "
            f"model.conditioning={values['conditioning']} modulates them; take "
            f"model.conditioning from {', '.join(plain)} or set model.block=pre_norm"
        )


def _check_pairs(values: Mapping[str, Any]) -> None:
    """UserError where blocks cannot stand in pairs around one in the middle."""
    stack = f"model.stack={values['stack']}"
    if len(MIXINGS[values["mixing"]].phases(values)) > 1:
        single = [name for name, m in MIXINGS.items() if len(m.phases(values)) == 1]
        raise UserError(
            f"{stack} needs equal blocks, but model.mixing={values['mixing']} has "
            f"several kinds; change it to one of {', '.join(single)}"
        )
    if values["depth"] % 2 == 0:
        raise UserError(
            f"model.depth is {values['depth']}, but {stack} pairs blocks around one in "
            "the middle; change it to an odd number"
        )


def _without_extra() -> str:
    return ", ".join(name for name, way in CONDITIONINGS.items() if not way.extra)


def num_parts(values: Mapping[str, Any]) -> int:
    """Rows of modulation of one block."""
    branch = CONDITIONINGS[values["conditioning"]].branch
    rows = 0 if branch is None else branch.parts
    phase = MIXINGS[values["mixing"]].phases(values)[0]
    return rows * (1 + sum(attending.modulated for attending in phase.values()))


def num_extra(values: Mapping[str, Any]) -> int:
    """Tokens in front of the patches."""
    extra = 0
    text, frames = TEXTS[values["text"]], FRAMES[values["frames"]]
    if CONDITIONINGS[values["conditioning"]].extra:
        extra = 1 + values["labels"] + text.pooled + frames.pooled
    if text.tokens_as == "tokens":
        extra += values["text_length"]
    return extra
