r"""Joint spacetime DiT of 14 B parameters, 81 frames at 720x1280: 75,600 tokens, text.

    python -m dit_jax.plan --config configs/joint_14b_720p.py --topology v5p:8x8x4
    python -m dit_jax.train --config configs/joint_14b_720p.py \
        --config.data.path=DIR --workdir runs/14b

Latents 21x90x160x16 of a codec that compresses 4x8x8. The shape of Wan 2.1 14B
(arXiv:2503.20314): 40 layers of width 5120, 40 heads of 128, MLP of 13,824, text by
cross-attention. Four chips share a clip by exchanging heads (Ulysses). On v6e and tpu7x
heads of 256 channels fill the matrix units: --config.model.num_heads=20. On 64 H100:
--config.train.microbatches=4. Plans: docs/scale.md. It has been compiled for 256
chips of v5p and of v6e and 128 of tpu7x, and never trained.
"""

from configs import recipes


def get_config(argument: str = ""):
    del argument
    config = recipes.pod("14b", latents=(21, 90, 160, 16), context=4, batch_size=64)
    recipes.with_text(config)
    config.model.depth = 40
    config.diffusion.times_shift = 5.0  # large clips hide little at low noise
    config.mesh.data = 4  # gathers within a part of the torus are cheaper
    return config
