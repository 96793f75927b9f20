r"""Joint spacetime DiT of 3 B parameters, 81 frames at 480x832: 32,760 tokens, text.

    python -m dit_jax.plan --config configs/joint_3b_480p.py --topology v5p:4x4x4
    python -m dit_jax.train --config configs/joint_3b_480p.py \
        --config.data.path=DIR --workdir runs/3b

Latents 21x60x104x16 of a codec that compresses 4x8x8. Text by cross-attention. A clip
fits one chip, so no context parallelism; weights are sharded over a quarter of the
chips. Plans: docs/scale.md. It has been compiled for 64 and 256 chips of
v5p, 256 of v6e and 128 of tpu7x, and never trained.
"""

from configs import recipes


def get_config(argument: str = ""):
    del argument
    config = recipes.pod("3b", latents=(21, 60, 104, 16), context=1, batch_size=256)
    recipes.with_text(config)
    config.diffusion.times_shift = 3.0  # large clips hide little at low noise
    config.mesh.data = 4  # gathers within a part of the torus are cheaper
    return config
