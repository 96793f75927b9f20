"""A small denoiser with random weights and a random linear codec, and its videos."""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

from dit_jax import codecs, config
from dit_jax.codecs import pca_fit
from dit_jax.diffusion.processes import RectifiedFlow
from dit_jax.inference import denoiser as denoiser_lib
from dit_jax.inference import generate
from dit_jax.inference.run_folder import Run
from dit_jax.parallel import mesh
from dit_jax.types import keep_placement

ROOT = Path(__file__).parents[2]
SHAPE = (2, 4, 4, 6)
OPTIONS = {
    "grid": "uniform",
    "steps": 4,
    "shift": 1.0,
    "t_max": None,
    "t_min": None,
    "clip": "none",
    "guidance_schedule": "constant",
    "guidance_restraint": "none",
    "guidance_channels": None,
}
SMALL = {
    "model.preset": "joint-tiny/1x2x2",
    "model.width": "32",
    "model.depth": "2",
    "model.num_heads": "2",
}


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Run]:
    """`make_run(model__text="pooled", ...)`, every weight moved off its zero."""

    def make(**overrides: str) -> Run:
        values = SMALL | {key.replace("__", "."): v for key, v in overrides.items()}
        settings = config.load(str(ROOT / "configs/common.py"), values)
        model = denoiser_lib.resolve(config.section(settings, "model"))
        with settings.unlocked():
            settings.model = config.ConfigDict(model)
        built = denoiser_lib.build(
            model, latent_shape=SHAPE, num_classes=3, constrain=keep_placement
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

    return make


def _codec() -> codecs.Codec:
    video = np.random.default_rng(0).integers(0, 256, (1, 8, 16, 16, 3), np.uint8)
    return pca_fit.fit(list(video), block=(2, 4, 4), channels=SHAPE[-1])


@pytest.fixture(scope="session")
def videos() -> Callable[..., np.ndarray]:
    """`videos(run, labels, text=, count=devices, ...)` -> int pixels of all clips."""

    def make(
        run,
        labels,
        *,
        text=None,
        frames=None,
        count=1,
        batch_size=4,
        seed=0,
        guidance=2.0,
        sampler="euler",
    ) -> np.ndarray:
        chosen = jax.devices()[:count]
        made = generate.generate(
            run,
            mesh.build(chosen, data=-1, fsdp=1, context=1, tensor=1),
            np.array(labels),
            text=text,
            frames=frames,
            seed=seed,
            guidance=guidance,
            sampler=sampler,
            batch_size=batch_size,
            **OPTIONS,
        )
        return np.concatenate(list(made)).astype(int)

    return make
