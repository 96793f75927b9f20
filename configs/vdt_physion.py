r"""VDT (Lu et al. 2023, arXiv:2305.13311) on Physion: what happens next, at 128 px.

    python -m dit_jax.prepare --config configs/vdt_physion.py --output DIR \
        --config.prepare.sources=PHYSION
    python -m dit_jax.train --config configs/vdt_physion.py:l/2 \
        --config.data.path=DIR --workdir runs/vdt-physion

s/2 or l/2, the released size.

Source: the paper and VDT-2023/VDT, which has the model and no training script.
Data: clips of 12 frames of 128x128, every third frame, latents 12x16x16x4: 8 frames are
  given, 4 predicted.
Training: DiT's process; no script was released, so the optimizer (DiT's) and the number
  of steps are ours, see `recipes.vdt`.
Published: FVD 129.1, SSIM 0.8718 (given frames in front of the noisy ones; as
  `--config.model.frames=cross_attention` 134.9, as `pooled` 270.8, though the paper
  leaves open how adaLN reads frames); 65.3 % of the questions answered by a readout of
  rollouts (Collide). 500 DDPM steps.
Not here: the Stable Diffusion autoencoder, so no score can be compared; rollouts and
  the readout.
"""

from configs import recipes


def get_config(argument: str = ""):
    config = recipes.vdt(argument, default="l/2")
    recipes.frame_latents(config, side=128, num_frames=12, stride=3)
    config.model.frames = "concat"
    config.train.given_frames = 8
    config.sample.steps = 500
    return config
