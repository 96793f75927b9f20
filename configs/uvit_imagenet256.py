r"""U-ViT (Bao et al. 2023, arXiv:2209.12152) on ImageNet at 256 px, by class.

    python -m dit_jax.train --config configs/uvit_imagenet256.py:l/2 \
        --config.data.path=DIR --workdir runs/uvit

l/2 or h/2.

Source: baofff/U-ViT@ce55170, configs/imagenet256_uvit_large.py and _huge.py.
Data: latents 1x32x32x4 of 256 px images, 1000 classes named by folders. `prepare` makes
  them of videos; it reads no image folders.
Training: AdamW 2e-4, betas (0.99, 0.99), decay 0.03, warm-up of 5,000 steps, then
  constant; batch 1024; EMA 0.9999; of the labels 0.15 dropped (h/2: 0.1); 300,000 steps
  (h/2: 500,000); eps at uniform times of the VP-SDE with betas 0.1 to 20 (h/2: of
  1000 steps of Stable Diffusion's betas).
Published: FID 3.40 (l/2), 2.29 (h/2); 50 steps of DPM-Solver, guidance 1.4 (which they
  write 0.4).
Not here: the Stable Diffusion autoencoder, so no score can be compared; FID. Decay is
  of kernels alone.
"""

from configs import recipes


def get_config(argument: str = ""):
    config = recipes.of_preset(
        "uvit", argument, default="l/2", sizes=("l", "h"), patches=("2",)
    )
    recipes.noise_prediction(config)
    is_large = config.model.preset == "uvit-l/2"
    config.diffusion.process = (
        "variance_preserving" if is_large else "ddpm_scaled_linear"
    )
    recipes.constant_rate(config, warmup_steps=5000)
    recipes.labelled_images(config, side=256)
    config.train.num_steps = 300_000 if is_large else 500_000
    config.train.label_dropout = 0.15 if is_large else 0.1
    config.train.batch_size = 1024
    config.optimizer.learning_rate = 2e-4
    config.optimizer.b1 = config.optimizer.b2 = 0.99
    config.optimizer.weight_decay = 0.03
    config.sample.sampler = "dpm_2m"
    config.sample.guidance = 1.4
    return config
