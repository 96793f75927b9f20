"""Every file of configs/ and every part of a model, shrunk, trains on every mesh."""

import importlib.util

import jax
import numpy as np
import pytest

from dit_jax import config
from dit_jax.errors import UserError
from dit_jax.models.choices import CONDITIONINGS, TEXTS
from dit_jax.models.mixings import MIXINGS
from dit_jax.training import assembly
from tests.training.conftest import ROOT, TEXT

PARTS = ("__init__", "recipes")  # of configs, and none themselves
CONFIGS = sorted(
    path.stem for path in (ROOT / "configs").glob("*.py") if path.stem not in PARTS
)
EIGHT = {"data": 2, "fsdp": 2, "tensor": 2}
SHAPE = (4, 4, 4, 4)
SHRUNK = {
    "model__width": "48",
    "model__depth": "2",
    "model__num_heads": "2",
    "model__mlp_ratio": "4.0",
    "model__text_length": str(TEXT[0]),
    "model__text_dims": str(TEXT[1]),
    "model__remat": "none",
    "train__batch_size": "8",
    "optimizer__learning_rate": "1e-2",
    "optimizer__warmup_steps": "0",  # or the first step would change nothing
    # above rounding: Adam's first step is the sign of whatever gradient there is
    "optimizer__eps": "1e-6",
}
CHANGES = {
    "uvit_imagenet256": {"model__depth": "3"},  # long skips need an odd number
    "vdt_physion": {"train__given_frames": "2"},
    "window": {"model__depth": "3", "model__attention": "xla"},  # to shifted windows
}
SEAMS = {"mixing": MIXINGS, "conditioning": CONDITIONINGS, "text": TEXTS}
CLIPPED = {"optimizer__clip_from": "1"}  # the second step, where there is clipping
# A row is a model of `joint.py`: model.mixing, model.conditioning, model.text.
DESIGNS = [
    ("joint", "adaln_zero", "cross_attention"),
    ("joint", "in_context", "tokens"),
    ("joint", "adaln_single", "pooled"),
    ("spatial", "adaln_zero", "none"),
    ("spatial_temporal", "cross_attention", "none"),
    ("temporal_spatial", "adaln", "none"),
    ("multi_resolution", "adaln_single", "none"),
    ("vdt_spatial_first", "adaln_zero", "none"),
]
WHAT_A_STEP_IS_MADE_OF = ("seed", "data", "model", "diffusion", "train", "optimizer")


def load(spec, values=None):
    return assembly.resolve(config.load(f"{ROOT}/configs/{spec}", values))


@pytest.fixture(scope="module")
def trained():
    """What has been trained: configs that differ in their data only are one step."""
    return set()


def assert_it_trains_alike_on_one_and_eight_devices(
    make_training, trained, spec, **changes
):
    """Two steps; the second loss is that of weights which the first has moved."""

    def make(sizes):
        values = SHRUNK | CLIPPED | changes
        return make_training(sizes, spec, SHAPE, in_haste=True, **values)

    alone = make({})
    step = str([alone.config[part] for part in WHAT_A_STEP_IS_MADE_OF])
    if step in trained:
        return
    start = alone.start()
    state, losses = alone.train(2, start)
    assert np.isfinite(losses).all()
    np.testing.assert_allclose(make(EIGHT).losses(2, start), losses, rtol=1e-5)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), start.params, state.params)
    assert np.median(jax.tree.leaves(moved)) > 5e-3  # about the learning rate
    trained.add(step)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_trains_alike_on_one_and_eight_devices(make_training, trained, name):
    assert_it_trains_alike_on_one_and_eight_devices(
        make_training, trained, f"{name}.py", **CHANGES.get(name, {})
    )


@pytest.mark.slow
@pytest.mark.parametrize("frames", ["cross_attention", "pooled"])
def test_given_frames_are_told_alike_on_one_and_eight_devices(
    make_training, trained, frames
):
    changes = CHANGES["vdt_physion"] | {"model__frames": frames}
    assert_it_trains_alike_on_one_and_eight_devices(
        make_training, trained, "vdt_physion.py", **changes
    )


@pytest.mark.slow
@pytest.mark.parametrize(("mixing", "conditioning", "text"), DESIGNS)
def test_a_design_trains_alike_on_one_and_eight_devices(
    make_training, trained, mixing, conditioning, text
):
    assert_it_trains_alike_on_one_and_eight_devices(
        make_training,
        trained,
        "joint.py",
        model__attention="xla",
        model__mixing=mixing,
        model__conditioning=conditioning,
        model__text=text,
    )


def test_every_part_is_trained_in_a_config_or_a_design():
    configs = [load(f"{name}.py").model for name in CONFIGS]
    for index, (key, table) in enumerate(SEAMS.items()):
        used = {row[index] for row in DESIGNS} | {model[key] for model in configs}
        assert set(table) == used


@pytest.mark.parametrize(
    ("key", "name"), [(key, name) for key, table in SEAMS.items() for name in table]
)
def test_another_part_is_one_override(key, name):
    assert load("joint.py", {f"model.{key}": name}).model[key] == name


REFUSED = {
    "in-context tokens without a place": (
        {"model.mixing": "spatial_temporal", "model.conditioning": "in_context"},
        "has no place for; change model.mixing to joint, or take model.conditioning "
        "from adaln_zero, adaln, adaln_single, cross_attention",
    ),
    "text tokens without a place": (
        {"model.mixing": "windows", "model.text": "tokens"},
        "model.text=tokens puts tokens in front of the patches, which "
        "model.mixing=windows has no place for; change model.mixing to joint",
    ),
    "long skips over blocks in turn": (
        {"model.stack": "long_skips", "model.mixing": "interleaved"},
        "has several kinds; change it to one of joint, spatial, spatial_temporal, "
        "temporal_spatial, vdt, vdt_spatial_first, multi_resolution",
    ),
    "long skips without a middle": (
        {"model.stack": "long_skips", "model.depth": "12"},
        "model.depth is 12, but model.stack=long_skips pairs blocks around one in the "
        "middle; change it to an odd number",
    ),
    "a mixing that does not exist": (
        {"model.mixing": "factorised"},
        "choose one of " + ", ".join(sorted(MIXINGS)),
    ),
    "a conditioning that does not exist": (
        {"model.conditioning": "adaln-zero"},
        "choose one of " + ", ".join(sorted(CONDITIONINGS)),
    ),
    "a text that does not exist": (
        {"model.text": "token"},
        "choose one of cross_attention, none, pooled, tokens; did you mean 'tokens'?",
    ),
}


@pytest.mark.parametrize(("values", "words"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_go_together_is_refused_with_what_does(values, words):
    with pytest.raises(UserError) as refusal:
        load("joint.py", values)
    assert words in str(refusal.value)


@pytest.mark.parametrize("name", CONFIGS)
def test_it_states_its_command(name):
    file = ROOT / "configs" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert name == "common" or "python -m" in module.__doc__ or "make" in module.__doc__


def test_streams_that_no_batch_has_are_refused_before_anything_is_built(make_training):
    preset = {"model__preset": "unidiffuser-v0/2", "model__depth": "3"}
    with pytest.raises(UserError, match=r"which no dataset holds; .* joint-b/1x2x2"):
        make_training({}, "joint.py", SHAPE, **SHRUNK | preset)
