r"""VDT (Lu et al. 2023, arXiv:2305.13311) on UCF101 at 64 px, unconditional.

    python -m dit_jax.prepare --config configs/vdt_ucf101.py --output DIR \
        --config.prepare.sources=UCF-101
    python -m dit_jax.train --config configs/vdt_ucf101.py:s/2 \
        --config.data.path=DIR --workdir runs/vdt-ucf101

s/2 or l/2 (whose width is that of DiT's xl).

Source: the paper and RERV/VDT@cdbad2b, which has the model and no training script.
Data: clips of 16 frames of 64x64, latents 16x8x8x4. Their stride is not stated; 1 here.
Training: DiT's process; no script was released, so the optimizer (DiT's) and the number
  of steps are ours, see `recipes.vdt`.
Published: FVD 225.7 of 16 frames. No evaluation code exists, so the number cannot be
  tied to a protocol.
Not here: the Stable Diffusion autoencoder, so no score can be compared; the label
  0 of every clip, a tenth of them dropped.
"""

from configs import recipes


def get_config(argument: str = ""):
    config = recipes.vdt(argument, default="s/2")
    recipes.frame_latents(config, side=64, num_frames=16)
    return config
