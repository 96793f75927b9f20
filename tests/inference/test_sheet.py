"""The contact sheet shows the pixels it was given."""

import io

import numpy as np
from PIL import Image

from dit_jax.inference import sheet


def test_first_and_last_frames_of_every_clip_are_on_the_sheet():
    clips = np.zeros((2, 9, 8, 8, 3), np.uint8)
    clips[0, 0], clips[0, -1] = (250, 0, 0), (0, 250, 0)
    clips[1, 0], clips[1, -1] = (0, 0, 250), (250, 250, 0)
    page = Image.open(io.BytesIO(sheet.png([("a", clips)], ["x", "y"], columns=3)))
    pixels = np.asarray(page)
    for colour in [(250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0)]:
        shown = np.all(pixels == colour, axis=-1)
        assert shown.sum() == 64 * 64  # enlarged eight times, unsmoothed
