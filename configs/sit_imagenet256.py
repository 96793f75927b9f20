r"""SiT (Ma et al. 2024, arXiv:2401.08740) on ImageNet at 256 px, by class.

    python -m dit_jax.train --config configs/sit_imagenet256.py:xl/2 \
        --config.data.path=DIR --workdir runs/sit

Sizes s, b, l, xl; patches 2, 4, 8.

Source: willisma/SiT@947f95b, train.py.
Data: as `dit_imagenet256.py`.
Training: as `dit_imagenet256.py`, but velocity on straight paths, unweighted, uniform
  times. Half of the output is dropped, so that the weights have DiT's shapes.
Published: FID-50K 2.06, IS 270.27 (xl/2; 250 steps, guidance said to be 1.5). Sampled
  here by dopri5, their code's default; their SDE is `sde_euler:diffusion=sigma`.
Not here: the Stable Diffusion autoencoder, so no score can be compared; the step of
  0.04 that ends its SDE samplers (`sde_euler` ends with one of the grid's); FID.
"""

from configs import dit_imagenet256, recipes


def get_config(argument: str = ""):
    config = dit_imagenet256.class_images("sit", argument)
    config.diffusion.process = "rectified_flow"
    config.diffusion.prediction = "velocity"
    config.diffusion.bound = "none"
    recipes.uniform_times(config)
    config.sample.sampler = "dopri5"
    config.sample.grid = "uniform"
    return config
