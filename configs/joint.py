r"""Joint spacetime DiT, class-conditional, on 16x32x32 latents of your own dataset.

    python -m dit_jax.train --config configs/joint.py:b/1x2x2 \
        --config.data.path=DIR --workdir runs/joint-b

Sizes s, b, l, xl; patches 1x2x2, 1x4x4, 2x2x2. Weights are sharded over all chips
(`mesh.fsdp=-1`). Settings follow DiT (Peebles & Xie 2023): AdamW 1e-4, batch 256,
EMA 0.9999. No score is published yet.
"""

from configs import common
from dit_jax import config as config_lib

SIZES = ("s", "b", "l", "xl")
PATCHES = ("1x2x2", "1x4x4", "2x2x2")


def get_config(argument: str = ""):
    choices = tuple(f"{size}/{patch}" for size in SIZES for patch in PATCHES)
    name = config_lib.parse_argument(argument, default="b/1x2x2", choices=choices)
    config = common.get_config()
    config.model.preset = f"joint-{name}"
    config.model.remat = True
    config.model.attention = "chunked"  # memory grows with tokens, not their square
    return config
