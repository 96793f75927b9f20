"""Draws what guidance does to samples of one class of a mixture on a plane.

python docs/figures/guidance.py
"""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from dit_jax.diffusion.grids import make_grid
from dit_jax.diffusion.guidance import (
    autoguidance,
    classifier_free,
    unconditional,
)
from dit_jax.diffusion.guidance.scales import interval
from dit_jax.diffusion.processes import RectifiedFlow
from dit_jax.diffusion.samplers import sample
from dit_jax.diffusion.samplers.two_calls import heun
from dit_jax.types import Conditioning

OUT = Path(__file__).with_suffix(".png")
FLOW = RectifiedFlow()
GRID = make_grid("uniform", FLOW, 100)
COUNT = 2000
# two interleaved arcs, each a row of Gaussians
ANGLES = np.linspace(0, np.pi, 9)
ARCS = np.stack(
    [
        np.stack([np.cos(ANGLES) - 0.5, np.sin(ANGLES) - 0.25], 1),
        np.stack([0.5 - np.cos(ANGLES), 0.25 - np.sin(ANGLES)], 1),
    ]
)
STD = 0.09


def believed(xt, t, conditioning, std=STD):
    """E[x0 | xt, class]; class 2 is none."""
    alpha, sigma = FLOW.alpha(t)[:, None], FLOW.sigma(t)[:, None]
    means = jnp.asarray(ARCS.reshape(-1, 2))
    of_class = jnp.repeat(jnp.arange(2), len(ANGLES))
    label = conditioning.label[:, None]
    may_be = (label == 2) | (of_class == label)
    power = alpha**2 * std**2 + sigma**2
    away = xt[:, None] - alpha[..., None] * means
    score = -jnp.sum(away**2, -1) / (2 * power)
    weight = jax.nn.softmax(jnp.where(may_be, score, -jnp.inf))
    gain = alpha * std**2 / power
    near = means + gain[..., None] * away
    return jnp.einsum("bk,bkd->bd", weight, near)


def samples(denoise_fn):
    start = jax.random.normal(jax.random.key(0), (COUNT, 2))
    labels = Conditioning(label=jnp.zeros(COUNT, jnp.int32))
    return sample(denoise_fn, heun, GRID, start, prediction="x0", conditioning=labels)


def main() -> None:
    guide = partial(classifier_free, believed, unconditional(2))
    weaker = partial(believed, std=3 * STD)
    panels = {
        "guidance 1.0: the class itself": believed,
        "guidance 2.0": guide(2.0),
        "guidance 4.0": guide(4.0),
        "guidance 4.0 where 0.2 < t <= 0.6": guide(interval(4.0, GRID, 0.2, 0.6)),
        "a model that blurs: std 3 times as large": weaker,
        "autoguidance 2.0, away from the one that blurs": autoguidance(
            partial(believed, std=1.5 * STD), weaker, 2.0
        ),
    }
    figure, axes = plt.subplots(2, 3, figsize=(9, 5.4), sharex=True, sharey=True)
    noise = np.random.default_rng(0).normal(size=(2, len(ANGLES), 150, 2))
    real = ARCS[:, :, None] + STD * noise
    for axis, (name, denoise_fn) in zip(axes.flat, panels.items(), strict=True):
        for points, color in zip(real, ("tab:orange", "0.75"), strict=True):
            axis.scatter(*points.reshape(-1, 2).T, s=1, c=color, alpha=0.25, lw=0)
        axis.scatter(*np.asarray(samples(denoise_fn)).T, s=2, c="tab:blue", lw=0)
        axis.set_title(name, fontsize=8)
        axis.set_aspect("equal")
        axis.set(xlim=(-2, 2), ylim=(-1.4, 1.4))
    figure.tight_layout()
    figure.savefig(OUT, dpi=110)


if __name__ == "__main__":
    main()
