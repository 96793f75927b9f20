r"""Latte (Ma et al. 2024, arXiv:2401.03048) on UCF101 at 256 px, by class.

    python -m dit_jax.prepare --config configs/latte_ucf101.py --output DIR \
        --config.prepare.sources=UCF-101
    python -m dit_jax.train --config configs/latte_ucf101.py:xl/2 \
        --config.data.path=DIR --workdir runs/latte-ucf101

Sizes s, b, l, xl; patches 2, 4, 8.

Source: Vchitect/Latte@b27c24a, configs/ucf101/ucf101_train.yaml and ucf101_sample.yaml.
Data: clips of 16 frames of 256x256, every third frame, latents 16x32x32x4; 101 classes
  named by folders.
Training: `recipes.latte`; clipping begins after 100,000 steps.
Published: FVD 477.97 (2048 random real clips against 2048; 250 DDPM steps, guidance 7).
  Others found 168, 190, 220 and 320 for the same weights: the protocol is not pinned.
Not here: the Stable Diffusion autoencoder, so no score can be compared; training
  with 8 more images beside each clip.
"""

from configs import recipes


def get_config(argument: str = ""):
    config = recipes.latte(argument, clip_from=100_000)
    config.prepare.label = "folder"
    config.sample.guidance = 7.0
    return config
