r"""DiT (Peebles & Xie 2023, arXiv:2212.09748) on ImageNet at 256 px, by class.

    python -m dit_jax.train --config configs/dit_imagenet256.py:xl/2 \
        --config.data.path=DIR --workdir runs/dit

Sizes s, b, l, xl; patches 2, 4, 8.

Source: facebookresearch/DiT@ed81ce2, train.py and sample_ddp.py.
Data: latents 1x32x32x4 of centre-cropped 256 px images, mirrored at random, 1000
  classes named by folders. `prepare` makes them of videos; it reads no image folders.
Training: `recipes.dit`, 7 M steps.
Published: FID-50K 2.27, IS 278.24 (xl/2; guidance 1.5, 250 DDPM steps). The cheapest
  check is b/4 after 400,000 steps without guidance: FID 68.4.
Not here: the Stable Diffusion autoencoder (ft-ema, latents x 0.18215), so no score can
  be compared; FID.
"""

from configs import recipes


def get_config(argument: str = ""):
    return class_images("dit", argument)


def class_images(family: str, argument: str):
    """The training of a family of DiT's sizes."""
    config = recipes.dit(family, argument)
    recipes.labelled_images(config, side=256)
    recipes.flips(config)
    config.train.num_steps = 7_000_000
    config.sample.guidance = 1.5
    config.sample.guidance_channels = 3
    return config
