"""One seed gives one video, whatever the mesh and the batch; labels are heard."""

from pathlib import Path

import jax
import numpy as np
import pytest

from dit_jax import codecs, config
from dit_jax.codecs import pca_fit
from dit_jax.diffusion.processes import RectifiedFlow
from dit_jax.errors import UserError
from dit_jax.inference import denoiser as denoiser_lib
from dit_jax.inference import generate
from dit_jax.inference.run_folder import Run
from dit_jax.parallel import mesh

ROOT = Path(__file__).parents[2]
SHAPE = (2, 4, 4, 6)
OPTIONS = {"sampler": "euler", "steps": 4, "shift": 1.0, "t_max": 1.0}


def devices(count: int) -> mesh.Mesh:
    chosen = jax.devices()[:count]
    return mesh.build(chosen, data=-1, fsdp=1, context=1, tensor=1)


@pytest.fixture(scope="module")
def run() -> Run:
    """A small denoiser with random weights and a random linear codec."""
    settings = config.load(
        str(ROOT / "configs/common.py"),
        {
            "model.preset": "joint-tiny/1x2x2",
            "model.width": "32",
            "model.depth": "2",
            "model.num_heads": "2",
        },
    )
    model = denoiser_lib.resolve(config.section(settings, "model"))
    built = denoiser_lib.build(
        model, latent_shape=SHAPE, num_classes=3, constrain=lambda x, dims: x
    )
    leaves, structure = jax.tree.flatten(built.init(0))
    moved = [
        leaf + 0.1 * jax.random.normal(jax.random.key(i), leaf.shape)
        for i, leaf in enumerate(leaves)
    ]
    return Run(
        config=settings,
        denoiser=built,
        params=jax.tree.unflatten(structure, moved),
        codec=_codec(),
        process=RectifiedFlow(),
        prediction="velocity",
        latent_shape=SHAPE,
        classes=[{"name": name} for name in "abc"],
        fps=24.0,
        step=1,
        weights="ema",
    )


def _codec() -> codecs.Codec:
    video = np.random.default_rng(0).integers(0, 256, (1, 8, 16, 16, 3), np.uint8)
    return pca_fit.fit(list(video), block=(2, 4, 4), channels=SHAPE[-1])


def videos(run: Run, labels, *, count=1, batch_size=4, seed=0, guidance=2.0):
    made = generate.generate(
        run,
        devices(count),
        np.array(labels),
        seed=seed,
        guidance=guidance,
        batch_size=batch_size,
        **OPTIONS,
    )
    return np.concatenate(list(made)).astype(int)


LABELS = [0, 1, 2, 0, 1]


@pytest.mark.parametrize(("count", "batch_size"), [(1, 2), (4, 4), (8, 8)])
def test_the_same_seed_is_the_same_video_on_any_mesh_and_batch(run, count, batch_size):
    expected = videos(run, LABELS)
    found = videos(run, LABELS, count=count, batch_size=batch_size)
    assert np.abs(found - expected).max() <= 1  # a rounding step of one grey level
    assert expected.std() > 5


def test_seed_label_and_guidance_change_the_video(run):
    expected = videos(run, LABELS)
    assert np.any(videos(run, LABELS, seed=1) != expected)
    assert np.any(videos(run, [1, 1, 2, 0, 1])[0] != expected[0])
    assert np.any(videos(run, LABELS, guidance=1.0) != expected)


def test_labels_beyond_the_classes_are_refused(run):
    with pytest.raises(UserError, match="the run has 3 classes"):
        videos(run, [4])


def test_the_null_label_is_what_guidance_pushes_away_from(run):
    plain = videos(run, [3, 3], guidance=1.0)
    guided = videos(run, [3, 3], guidance=5.0)
    np.testing.assert_array_equal(plain, guided)


def test_batch_size_must_fit_the_mesh(run):
    with pytest.raises(UserError, match="sample.batch_size is 3"):
        videos(run, LABELS, count=2, batch_size=3)
