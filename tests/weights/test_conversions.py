"""Whole files of other programs, there and back, and what does not fit."""

from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from einops import rearrange
from flax import nnx

from dit_jax import models
from dit_jax.errors import DataError, UserError
from dit_jax.evaluation.parity import golden
from dit_jax.models import presets
from dit_jax.types import Conditioning
from dit_jax.weights import conversions, mapping, state_dicts, tables
from dit_jax.weights.conversions import CONVERSIONS
from dit_jax.weights.systems import SYSTEMS

GOLDEN = Path(__file__).parents[1] / "golden"
FILES = [
    path
    for path in sorted(GOLDEN.glob("*.safetensors"))
    if path.stem.partition("_")[0] in {name.partition("_")[0] for name in SYSTEMS}
    and golden.read(path).params
]


def given(case: golden.Case) -> dict:
    """What small models cannot leave to the published ones."""
    arguments = case.config["model"]
    told = {"num_heads": arguments["num_heads"]}
    if case.system == "uvit_t2i":
        told["text_length"] = arguments["num_clip_token"]
    return told


def case_of(name: str) -> tuple[golden.Case, dict[str, np.ndarray]]:
    case = golden.read(GOLDEN / f"{name}.safetensors")
    return case, dict(case.params)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_goes_there_and_back_bit_for_bit(path, tmp_path):
    case = golden.read(path)
    system = SYSTEMS[case.system]
    state_dicts.write(tmp_path / "theirs.safetensors", dict(case.params))
    theirs, nest = state_dicts.read(tmp_path / "theirs.safetensors")
    if case.system in CONVERSIONS:
        design = conversions.read_design(case.system, theirs, given(case))
    else:
        design = system.design(case.config["model"])
    ours = conversions.to_ours(case.system, design, theirs)
    if case.system in CONVERSIONS:
        back = conversions.to_theirs(case.system, design, ours)
    else:
        back = mapping.to_theirs(system.rules(design), ours)
        back |= tables.make(system.fixed, design)
    state_dicts.write(tmp_path / "back.safetensors", back)
    found = safetensors.numpy.load_file(tmp_path / "back.safetensors")
    assert not nest and set(found) == set(case.params)
    for name, array in found.items():
        assert array.dtype == np.float32
        assert array.tobytes() == case.params[name].tobytes(), name


def test_every_system_has_a_file():
    assert {golden.read(path).system for path in FILES} == set(SYSTEMS)


CONVERTED = [path for path in FILES if golden.read(path).system in CONVERSIONS]


@pytest.mark.parametrize("path", CONVERTED, ids=lambda path: path.stem)
def test_sizes_are_read_off_the_parameters(path):
    case = golden.read(path)
    found = conversions.read_design(case.system, dict(case.params), given(case))
    wanted = SYSTEMS[case.system].design(case.config["model"])
    assert found.values == wanted.values
    assert found.latent_shape == wanted.latent_shape
    if found.values["labels"]:
        assert found.num_classes == wanted.num_classes


PUBLISHED = {
    "dit": ("dit-xl/2", (1, 32, 32, 4), 1000),
    "sit": ("sit-b/4", (1, 32, 32, 4), 1000),
    "vdt": ("vdt-l/2", (16, 8, 8, 4), 1),
    "latte": ("latte-xl/2", (16, 32, 32, 4), 101),
    "uvit": ("uvit-h/2", (1, 32, 32, 4), 1000),
    "uvit_t2i": ("uvit-s/2", (1, 32, 32, 4), 0),
}


@pytest.mark.parametrize("system", CONVERSIONS)
def test_a_published_model_is_known_by_its_shapes_alone(system):
    name, latent_shape, num_classes = PUBLISHED[system]
    text = {"text": "tokens", "text_dims": 768, "text_length": 77, "labels": False}
    overrides = text if system == "uvit_t2i" else {}
    values = presets.resolve(name, overrides)
    design = conversions.of_config(
        values | {"preset": name, "dtype": "float32"}, latent_shape, num_classes
    )
    rules = SYSTEMS[system].rules(design)
    shapes = mapping.their_shapes(rules, conversions.abstract(design))
    theirs = {k: np.broadcast_to(np.float32(0), shape) for k, shape in shapes.items()}
    theirs |= tables.make(SYSTEMS[system].fixed, design)
    found = conversions.read_design(system, theirs, {})
    assert found.preset == name and found.values == values
    assert (found.latent_shape, found.num_classes) == (latent_shape, num_classes)


def test_sit_gives_its_velocity_turned_round_at_our_time():
    case, theirs = case_of("sit_forward")
    design = conversions.read_design("sit", theirs, given(case))
    ours = conversions.to_ours("sit", design, theirs)
    params = jax.tree.map(jnp.asarray, ours)
    graphdef = models.split(nnx.eval_shape(lambda: design.build()))[0]
    x = jnp.asarray(rearrange(case.inputs["x"], "B C H W -> B 1 H W C"))
    t = 1 - jnp.asarray(case.inputs["t"])
    told = Conditioning(label=case.inputs["y"].astype(np.int32))
    with jax.default_matmul_precision("highest"):
        out = models.apply(graphdef, params, x, t, told)
    velocity = rearrange(-np.asarray(out)[..., :4], "B 1 H W C -> B C H W")
    assert all(d.passed for d in golden.compare(case, {"out": velocity}))


def test_the_number_of_heads_is_asked_for_where_no_published_model_tells_it():
    _, theirs = case_of("dit_forward_p2")
    with pytest.raises(UserError, match=r"2 blocks of width 32.*model.num_heads=N"):
        conversions.read_design("dit", theirs, {})


def test_names_too_many_are_listed_up_to_ten_and_counted():
    case, theirs = case_of("vdt_forward_p2")
    design = conversions.read_design("dit", theirs, given(case))
    with pytest.raises(UserError, match=r"temporal_attn.*and 7 more; give") as caught:
        conversions.to_ours("dit", design, theirs)
    assert str(caught.value).count("blocks.") == 10


def test_a_missing_name_and_another_shape_are_told_by_their_own_names():
    case, theirs = case_of("dit_forward_p2")
    design = conversions.read_design("dit", theirs, given(case))
    wrong = theirs | {"blocks.1.attn.qkv.weight": np.zeros((90, 32), np.float32)}
    with pytest.raises(
        UserError, match=r"blocks.1.attn.qkv.weight is \(90, 32\), want"
    ):
        conversions.to_ours("dit", design, wrong)
    del wrong["blocks.1.attn.qkv.weight"]
    with pytest.raises(UserError, match=r"lacks blocks\.1\.attn\.qkv\.weight; give"):
        conversions.to_ours("dit", design, wrong)


def test_weights_of_another_system_are_recognised():
    _, theirs = case_of("uvit_class_conv")
    with pytest.raises(UserError, match=r"lacks x_embedder.*names are those of uvit\)"):
        conversions.read_design("dit", theirs, {})


def test_a_table_that_is_not_the_fixed_one_is_refused():
    case, theirs = case_of("dit_forward_p2")
    design = conversions.read_design("dit", theirs, given(case))
    learned = theirs | {"pos_embed": theirs["pos_embed"] + np.float32(1e-4)}
    with pytest.raises(UserError, match="pos_embed is not the fixed table of sines"):
        conversions.to_ours("dit", design, learned)
    oblong = theirs | {"pos_embed": theirs["pos_embed"][:, :8]}
    with pytest.raises(UserError, match="8 patches, which make no square"):
        conversions.read_design("dit", oblong, given(case))


def test_half_precision_weights_become_the_nearest_float32():
    case, theirs = case_of("dit_forward_p2")
    half = {name: array.astype(np.float16) for name, array in theirs.items()}
    design = conversions.read_design("dit", half, given(case))
    back = conversions.to_theirs(
        "dit", design, conversions.to_ours("dit", design, half)
    )
    for name in set(half) - {"pos_embed"}:
        np.testing.assert_array_equal(back[name], half[name].astype(np.float32))
    assert back["pos_embed"].tobytes() == theirs["pos_embed"].tobytes()


OTHERS = {
    "no such parameters": ("joint-tiny/2", {}, "differ in .*query_norm"),
    "another table": (
        "dit-s/2",
        {"positions": "sincos_3d"},
        "positions is 'sincos_3d'",
    ),
    "another time": ("dit-s/2", {"time": "to_data"}, "time is 'to_data' and there"),
    "frames": ("dit-s/2", {}, r"latents are \(2, 4, 4, 4\), there \(1, 4, 4, 4\)"),
}


@pytest.mark.parametrize(
    ("preset", "values", "words"), OTHERS.values(), ids=list(OTHERS)
)
def test_a_model_that_the_other_program_cannot_hold_is_not_written(
    preset, values, words
):
    small = {"width": 24, "depth": 2, "num_heads": 2} | values
    model = presets.resolve(preset, small) | {"preset": preset, "dtype": "float32"}
    design = conversions.of_config(model, (2, 4, 4, 4), 3)
    params = models.split(design.build())[1]
    with pytest.raises(UserError, match=words):
        conversions.to_theirs("dit", design, params)


@pytest.mark.parametrize(
    ("name", "tree", "words"),
    [
        ("weights.bin", None, "ends in '.bin'; give one that ends in .safetensors"),
        ("weights.safetensors", None, "is no safetensors file"),
        ("missing.pt", None, "does not exist; give --input"),
    ],
)
def test_a_file_that_holds_no_parameters_is_named(name, tree, words, tmp_path):
    if not name.startswith("missing"):
        (tmp_path / name).write_bytes(b"12345678{}")
    with pytest.raises((UserError, DataError), match=words):
        state_dicts.read(tmp_path / name)


def test_nests_are_opened_from_the_outside_in():
    leaf = {"w": np.ones(1)}
    assert state_dicts.unwrap(leaf) == (leaf, "")
    assert state_dicts.unwrap(
        {"model": {}, "ema": {"state_dict": leaf}, "step": 3}
    ) == (
        leaf,
        "ema/state_dict",
    )
    assert state_dicts.unwrap([leaf]) == ({}, "")


def test_bfloat16_is_read_from_safetensors(tmp_path):
    values = np.array([1.5, -3.0], ml_dtypes.bfloat16)
    safetensors.numpy.save_file({"w": values}, tmp_path / "half.safetensors")
    found, _ = state_dicts.read(tmp_path / "half.safetensors")
    assert found["w"].astype(np.float32).tolist() == [1.5, -3.0]


def test_a_network_that_no_program_runs_is_no_run_folder():
    with pytest.raises(UserError, match="a network that parity runs"):
        conversions.find("unidiffuser", "--from")
    with pytest.raises(UserError, match=r"--from is 'latt'.*did you mean 'latte'"):
        conversions.find("latt", "--from")


def test_names_of_wrappers_are_taken_off_where_all_have_them(tmp_path):
    file = tmp_path / "w.safetensors"
    one = np.ones(1, np.float32)
    safetensors.numpy.save_file({"module.a": one, "module.b.module.c": one}, file)
    assert set(state_dicts.read(file)[0]) == {"a", "b.module.c"}
    safetensors.numpy.save_file({"module.a": one, "b": one}, file)
    assert set(state_dicts.read(file)[0]) == {"module.a", "b"}


def test_weights_that_are_not_finite_are_refused_by_name(tmp_path):
    file = tmp_path / "w.safetensors"
    arrays = {"a": np.ones(3, np.float32), "b": np.array([1, np.nan], np.float32)}
    safetensors.numpy.save_file(arrays, file)
    with pytest.raises(DataError, match="holds b that is not finite"):
        state_dicts.read(file)


def test_a_stray_block_is_named_and_not_built():
    _, theirs = case_of("dit_forward_p2")
    theirs["blocks.999999.mlp.fc1.weight"] = np.ones((2, 2), np.float32)
    with pytest.raises(UserError, match=r"blocks\.999999\.mlp\.fc1\.weight"):
        conversions.to_ours(
            "dit",
            conversions.read_design("dit", theirs, {"num_heads": 4}),
            theirs,
        )
