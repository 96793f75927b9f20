r"""Latte (Ma et al. 2024, arXiv:2401.03048) on Sky Time-Lapse at 256 px, unconditional.

    python -m dit_jax.prepare --config configs/latte_sky.py --output DIR \
        --config.prepare.sources=SKY
    python -m dit_jax.train --config configs/latte_sky.py:xl/2 \
        --config.data.path=DIR --workdir runs/latte-sky

Sizes s, b, l, xl; patches 2, 4, 8.

Source: Vchitect/Latte@b27c24a, configs/sky/sky_train.yaml and sky_sample.yaml.
Data: clips of 16 frames of 256x256, every third frame, latents 16x32x32x4.
Training: `recipes.latte`; clipping begins after 20,000 steps.
Published: FVD 59.82 (2048 random real clips against 2048; 250 DDPM steps). Others found
  96.5 for the same weights, and 233.7 or 50.0 by the archive that counts as real.
Not here: as `latte_ucf101.py`.
"""

from configs import recipes


def get_config(argument: str = ""):
    config = recipes.latte(argument, clip_from=20_000)
    recipes.unconditional(config)
    return config
