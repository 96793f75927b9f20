r"""Hierarchical windows: local, full and shifted local attention in turn.

    python -m dit_jax.train --config configs/window.py:b/1x2x2 \
        --config.data.path=DIR --workdir runs/window-b

Sizes, patches and settings are those of `joint.py`, and so are all parameters: give
`--config.train.init_from=runs/joint-b` to go on from a joint model. `model.window`
(t, h, w) counts tokens; `--config.model.mixing=multi_resolution` takes the mean over
windows of all sizes instead. No score is published yet.
"""

from configs import recipes


def get_config(argument: str = ""):
    return recipes.spacetime("window", argument)
