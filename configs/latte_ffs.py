r"""Latte (Ma et al. 2024, arXiv:2401.03048) on FaceForensics at 256 px, unconditional.

    python -m dit_jax.prepare --config configs/latte_ffs.py --output DIR \
        --config.prepare.sources=FACES
    python -m dit_jax.train --config configs/latte_ffs.py:xl/2 \
        --config.data.path=DIR --workdir runs/latte-ffs

Sizes s, b, l, xl; patches 2, 4, 8.

Source: Vchitect/Latte@b27c24a, configs/ffs/ffs_train.yaml and ffs_sample.yaml.
Data: the training split; clips of 16 frames of 256x256, every third frame, latents
  16x32x32x4.
Training: `recipes.latte`; clipping begins after 20,000 steps.
Published: FVD 34.00 (2048 random real clips of the training split against 2048; 250
  DDPM steps). Others found 156 for the same weights.
Not here: as `latte_ucf101.py`.
"""

from configs import recipes


def get_config(argument: str = ""):
    config = recipes.latte(argument, clip_from=20_000)
    recipes.unconditional(config)
    return config
