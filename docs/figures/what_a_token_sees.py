"""Draws what a token attends to under every mixing, from the patterns themselves.

python docs/figures/what_a_token_sees.py

Attention with equal scores gives each token the mean of what it sees, so the output for
one-hot values is the share of every token.
"""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dit_jax.models import presets
from dit_jax.models.attention import xla
from dit_jax.models.mixings import MIXINGS
from dit_jax.models.scene import Scene

GRID = (4, 8, 8)
QUERY = (1, 2, 3)
CELL, GAP, MARGIN, LABEL, TITLE = 7, 8, 16, 150, 22
PAPER, INK, EMPTY = (255, 255, 255), (40, 40, 40), (236, 236, 236)
FAINT, STRONG, TOKEN = (188, 213, 240), (12, 74, 150), (214, 84, 16)


def shares(pattern) -> np.ndarray:
    """How much of every token [T, H, W] reaches the query."""
    num_tokens = int(np.prod(GRID))
    nothing = jnp.zeros((1, num_tokens, 1, num_tokens))
    values = jnp.eye(num_tokens)[None, :, None, :]
    out = pattern(xla, nothing, nothing, values, Scene(GRID))
    return np.asarray(out)[0, :, 0].reshape(*GRID, -1)[QUERY].reshape(GRID)


def panel(draw: ImageDraw.ImageDraw, left: int, top: int, seen: np.ndarray) -> None:
    """The frames side by side; darker is more."""
    share = np.where(seen > 0, np.log1p(seen / seen[seen > 0].min()), 0)
    share = share / share.max()
    frames, rows, columns = GRID
    for t, y, x in np.ndindex(frames, rows, columns):
        a = left + t * (columns * CELL + GAP) + x * CELL
        b = top + y * CELL
        mixed = share[t, y, x] * np.array(STRONG) + (1 - share[t, y, x]) * np.array(
            FAINT
        )
        colour = tuple(mixed.astype(int)) if seen[t, y, x] > 1e-6 else EMPTY
        colour = TOKEN if (t, y, x) == QUERY else colour
        draw.rectangle((a, b, a + CELL - 2, b + CELL - 2), fill=colour)


def draw_all() -> Image.Image:
    values = presets.resolve("joint-tiny/1x2x2", {"window": (2, 4, 4)})
    width = GRID[0] * (GRID[2] * CELL + GAP)
    rows = []
    for name, mixing in MIXINGS.items():
        layers = [
            (f"block {number + 1}, {branch}", shares(attending.pattern))
            for number, phase in enumerate(mixing.phases(values))
            for branch, attending in phase.items()
        ]
        rows += [
            (name if start == 0 else "", layers[start : start + 2])
            for start in range(0, len(layers), 2)
        ]
    height = GRID[1] * CELL + TITLE + MARGIN
    size = (LABEL + 2 * (width + MARGIN) + MARGIN, height * len(rows) + MARGIN)
    image = Image.new("RGB", size, PAPER)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    for number, (name, layers) in enumerate(rows):
        top = MARGIN + number * height
        draw.text((MARGIN, top + TITLE), name, INK, font)
        for place, (title, seen) in enumerate(layers):
            left = LABEL + place * (width + MARGIN)
            draw.text((left, top), title, INK, font)
            panel(draw, left, top + TITLE, seen)
    return image


if __name__ == "__main__":
    draw_all().save(Path(__file__).with_suffix(".png"), optimize=True)
