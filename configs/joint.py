r"""Joint spacetime DiT, class-conditional, on 16x32x32 latents of your own dataset.

    python -m dit_jax.train --config configs/joint.py:b/1x2x2 \
        --config.data.path=DIR --workdir runs/joint-b

Sizes s, b, l, xl; patches 1x2x2, 1x4x4, 2x2x2. Weights are sharded over all chips
(`mesh.fsdp=-1`). AdamW 1e-4, batch 256 and EMA 0.9999 are DiT's (Peebles & Xie
2023); b2 0.99, warm-up, cosine and clipping are ours, see `common`. No score is
published yet.
"""

from configs import recipes


def get_config(argument: str = ""):
    return recipes.spacetime("joint", argument)
