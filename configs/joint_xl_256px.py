r"""Joint spacetime DiT-XL for 61 frames at 256 px, by class: 4,096 tokens, 675 M.

    python -m dit_jax.plan --config configs/joint_xl_256px.py --topology v5e:4x4
    python -m dit_jax.train --config configs/joint_xl_256px.py \
        --config.data.path=DIR --workdir runs/xl

Latents 16x32x32x16 of a codec that compresses 4x8x8 (61 frames are 1 + 15 x 4). Nine
heads of 128 channels instead of DiT's sixteen of 72, which the matrix units of TPUs
would fill up to 128. Weights are sharded over a quarter of the
chips: gathers within a part of the torus are cheaper. Plans: docs/scale.md. It has been
compiled for 16 chips of v5e, 256 of v5p and of v6e and 128 of tpu7x, and never
trained.
"""

from configs import recipes


def get_config(argument: str = ""):
    del argument
    config = recipes.pod("xl", latents=(16, 32, 32, 16), context=1, batch_size=256)
    config.model.num_heads = 9
    config.mesh.data = 4  # and 1152 channels are divided by at most 128 chips
    config.plan.num_classes = 1000
    return config
