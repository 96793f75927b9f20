"""Configs of published trainings: sizes, settings, and that each is whole."""

import json

import numpy as np
import pytest

from dit_jax import config as config_lib
from dit_jax.codecs import pca_fit
from dit_jax.data.sources.clips import ClipSettings
from dit_jax.inference.method import Method, arguments_of
from dit_jax.inference.run_folder import process_of
from dit_jax.models import presets
from tests.training.conftest import ROOT
from tests.training.test_configs import CONFIGS, SHAPE, SHRUNK, load

FACTS = json.loads((ROOT / "tests/golden/full_size_facts.json").read_text())["entries"]
# config -> the entry of its model in the facts, its latents, its number of classes. VDT
# has one class where its data have none.
MODELS = {
    "dit_imagenet256.py": ("DiT-XL/2 32x32x4", (1, 32, 32, 4), 1000),
    "dit_imagenet256.py:b/4": ("DiT-B/4 32x32x4", (1, 32, 32, 4), 1000),
    "sit_imagenet256.py": ("DiT-XL/2 32x32x4", (1, 32, 32, 4), 1000),
    "uvit_imagenet256.py": ("U-ViT-L/2 (ImageNet256 latents)", (1, 32, 32, 4), 1000),
    "uvit_imagenet256.py:h/2": (
        "U-ViT-H/2 (ImageNet256 latents)",
        (1, 32, 32, 4),
        1000,
    ),
    "vdt_ucf101.py": ("VDT-S/2 16x8x8x4", (16, 8, 8, 4), 1),
    "vdt_physion.py": ("VDT-L/2 16x16x16x4", (12, 16, 16, 4), 1),
    "latte_ucf101.py": ("Latte-XL/2 16x32x32x4 class (101)", (16, 32, 32, 4), 101),
    "latte_sky.py": ("Latte-XL/2 16x32x32x4", (16, 32, 32, 4), 0),
    "latte_taichi.py": ("Latte-XL/2 16x32x32x4", (16, 32, 32, 4), 0),
    "latte_ffs.py": ("Latte-XL/2 16x32x32x4", (16, 32, 32, 4), 0),
}
PUBLISHED = [name for name in CONFIGS if f"{name}.py" in MODELS]
# learning rate, b1, b2, decay, warm-up, batch, steps, clip norm, clip from
OPTIMIZERS = {
    "dit_imagenet256.py": (1e-4, 0.9, 0.999, 0, 0, 256, 7_000_000, 0, 0),
    "sit_imagenet256.py": (1e-4, 0.9, 0.999, 0, 0, 256, 7_000_000, 0, 0),
    "uvit_imagenet256.py": (2e-4, 0.99, 0.99, 0.03, 5000, 1024, 300_000, 0, 0),
    "uvit_imagenet256.py:h/2": (2e-4, 0.99, 0.99, 0.03, 5000, 1024, 500_000, 0, 0),
    "latte_ucf101.py": (1e-4, 0.9, 0.999, 0, 0, 40, 1_000_000, 0.1, 100_000),
    "latte_sky.py": (1e-4, 0.9, 0.999, 0, 0, 40, 1_000_000, 0.1, 20_000),
    "latte_taichi.py": (1e-4, 0.9, 0.999, 0, 0, 40, 1_000_000, 0.1, 500_000),
    "latte_ffs.py": (1e-4, 0.9, 0.999, 0, 0, 40, 1_000_000, 0.1, 20_000),
}
PODS = ("joint_xl_256px", "joint_3b_480p", "joint_14b_720p")
PROCESSES = {
    "sit_imagenet256.py": ("rectified_flow", "velocity"),
    "uvit_imagenet256.py": ("variance_preserving", "eps"),
    "uvit_imagenet256.py:h/2": ("ddpm_scaled_linear", "eps"),
}
DDPM = ("ddpm_linear", "eps")  # of all others


def test_every_config_of_a_publication_is_in_the_table():
    ours = {"common", "demo", "joint", "window"} | {*PODS}
    assert set(PUBLISHED) == set(CONFIGS) - ours


@pytest.mark.parametrize("spec", MODELS)
def test_a_config_makes_the_published_model_on_the_published_latents(spec):
    name, latent_shape, num_classes = MODELS[spec]
    config = load(spec)
    prepare, (t, h, w) = config.prepare, config.codec.block
    grid = (prepare.num_frames // t, prepare.height // h, prepare.width // w)
    assert (*grid, config.codec.channels) == latent_shape
    values = config_lib.section(config, "model")
    preset, _ = values.pop("preset"), values.pop("dtype")
    cost = presets.cost(preset, latent_shape, num_classes=num_classes, **values)
    assert cost.num_params == FACTS[name]["params_trainable"]


@pytest.mark.parametrize("spec", OPTIMIZERS)
def test_a_config_has_the_published_optimizer(spec):
    config = load(spec)
    adam, train = config.optimizer, config.train
    found = (adam.learning_rate, adam.b1, adam.b2, adam.weight_decay, adam.warmup_steps)
    found += (train.batch_size, train.num_steps, adam.clip_norm, adam.clip_from)
    assert found == OPTIMIZERS[spec]
    assert (adam.final_share, adam.ema_decay, adam.eps) == (1.0, 0.9999, 1e-8)


@pytest.mark.parametrize("spec", MODELS)
def test_a_config_has_the_published_process(spec):
    found = load(spec).diffusion
    assert (found.process, found.prediction) == PROCESSES.get(spec, DDPM)
    assert (found.loss, found.times) == (found.prediction, "uniform")
    assert (found.times_shift, found.times_stratified) == (1.0, False)


def test_clips_have_the_published_length_and_stride():
    def clip(name):
        prepare = load(f"{name}.py").prepare
        return prepare.num_frames, prepare.stride, prepare.height, prepare.width

    assert clip("vdt_ucf101")[::2] == (16, 64)
    assert clip("vdt_physion") == (12, 3, 128, 128)
    assert load("vdt_physion.py").train.given_frames == 8
    for name in PUBLISHED:
        if name.startswith("latte"):
            assert clip(name) == (16, 3, 256, 256)


@pytest.mark.parametrize("name", CONFIGS)
def test_prepare_accepts_the_settings_of_a_config(name):
    config = load(f"{name}.py")
    codec = config_lib.section(config, "codec")
    codec.pop("path")
    pca_fit.require_settings(**codec)
    settings, _ = ClipSettings.from_section(config_lib.section(config, "prepare"))
    settings.require_blocks(codec["block"])
    assert not config.data.flip or codec["symmetric"]


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_can_be_sampled_with_its_own_settings(name):
    config = load(f"{name}.py")
    how = arguments_of(config_lib.section(config, "sample"))
    process = process_of(config.diffusion)
    way = Method.of(process, config.diffusion.prediction, **how).way
    assert np.all(way.calls.t <= 1)


@pytest.mark.parametrize(
    ("name", "bound", "moves"),
    [
        ("dit_imagenet256", "mse", True),
        ("dit_imagenet256", "none", False),
        ("sit_imagenet256", "none", False),  # whose half is dropped
    ],
)
def test_the_bound_moves_the_half_of_the_output_that_is_the_variance(
    make_training, name, bound, moves
):
    values = SHRUNK | {"model__depth": "1", "diffusion__bound": bound}
    training = make_training({}, f"{name}.py", SHAPE, in_haste=True, **values)
    start = training.start()
    state, _ = training.train(2, start)
    assert training.config.model.learn_sigma
    before, after = (s.params["head"]["out"]["kernel"] for s in (start, state))
    halves = np.abs(after - before).reshape(before.shape[0], 4, 2, SHAPE[-1])
    assert np.all(halves[:, :, 0] > 0)
    assert np.all((halves[:, :, 1] > 0) == moves)


@pytest.mark.parametrize("name", PUBLISHED)
def test_it_states_source_data_training_score_and_what_is_missing(name):
    text = (ROOT / "configs" / f"{name}.py").read_text()
    words = ("Source:", "Data:", "Training:", "Published:", "Not here:")
    places = [text.find(f"\n{word}") for word in words]
    assert -1 not in places
    assert places == sorted(places)
