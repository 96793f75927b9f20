r"""Latte (Ma et al. 2024, arXiv:2401.03048) on Taichi-HD at 256 px, unconditional.

    python -m dit_jax.prepare --config configs/latte_taichi.py --output DIR \
        --config.prepare.sources=TAICHI
    python -m dit_jax.train --config configs/latte_taichi.py:xl/2 \
        --config.data.path=DIR --workdir runs/latte-taichi

Sizes s, b, l, xl; patches 2, 4, 8.

Source: Vchitect/Latte@b27c24a, configs/taichi/taichi_train.yaml and taichi_sample.yaml.
Data: clips of 16 frames of 256x256, every third frame, latents 16x32x32x4.
Training: `recipes.latte`; clipping begins after 500,000 steps.
Published: FVD 159.60 (2048 random real clips, whose stride was 6, against 2048; 250
  DDPM steps).
Not here: as `latte_ucf101.py`.
"""

from configs import recipes


def get_config(argument: str = ""):
    config = recipes.latte(argument, clip_from=500_000)
    recipes.unconditional(config)
    return config
