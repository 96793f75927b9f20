"""A contact sheet: rows are clips, columns are frames, real clips on the right."""

import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

Clips = UInt8[np.ndarray, "N F Hp Wp 3"]

MARGIN = 6
TEXT_HEIGHT = 14
INK, PAPER = (20, 20, 20), (255, 255, 255)


def png(
    blocks: Sequence[tuple[str, Clips]],
    row_names: Sequence[str],
    *,
    columns: int = 8,
    min_size: int = 64,
) -> bytes:
    """PNG bytes of blocks of clips side by side, one clip a row.

    blocks: (title, clips [N, F, Hp, Wp, 3]) each; `columns` frames of every clip are
    shown, evenly spread from the first to the last. Small frames are enlarged by whole
    numbers to at least `min_size` pixels, without smoothing.
    """
    strips = [(title, _strips(clips, columns, min_size)) for title, clips in blocks]
    heights = [strip.shape[0] for strip in strips[0][1]]
    width = sum(rows[0].shape[1] + MARGIN for _, rows in strips) + MARGIN
    height = sum(h + TEXT_HEIGHT for h in heights) + TEXT_HEIGHT + 2 * MARGIN
    page = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(page)
    left = MARGIN
    for title, rows in strips:
        pen.text((left, MARGIN), title, fill=INK)
        top = MARGIN + TEXT_HEIGHT
        for name, strip in zip(row_names, rows, strict=True):
            pen.text((left, top), name, fill=INK)
            page.paste(Image.fromarray(strip), (left, top + TEXT_HEIGHT))
            top += strip.shape[0] + TEXT_HEIGHT
        left += rows[0].shape[1] + MARGIN
    buffer = io.BytesIO()
    page.save(buffer, format="PNG")
    return buffer.getvalue()


def _strips(clips: Clips, columns: int, min_size: int) -> list[np.ndarray]:
    """Every clip as one image, its frames beside each other."""
    _, frames, height, width, _ = clips.shape
    shown = np.unique(np.linspace(0, frames - 1, min(columns, frames)).round()).astype(
        int
    )
    zoom = max(1, -(-min_size // min(height, width)))
    big = clips[:, shown].repeat(zoom, axis=2).repeat(zoom, axis=3)
    return [np.concatenate(list(clip), axis=1) for clip in big]
