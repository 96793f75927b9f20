"""Captions: texts of which an empty one is no text."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dit_jax.text.encoding import Encoder, Text


def encode(encoder: Encoder, captions: Sequence[str]) -> Text:
    """As `encoder.encode`, but the row of an empty caption is 0 everywhere."""
    found = encoder.encode(captions)
    there = np.array([bool(caption.strip()) for caption in captions])
    return Text(
        tokens=np.where(there[:, None, None], found.tokens, np.float32(0)),
        mask=np.where(there[:, None], found.mask, np.int32(0)),
        pooled=np.where(there[:, None], found.pooled, np.float32(0)),
    )


class Captions:
    """The captions of some videos, by the videos' names, each encoded once."""

    def __init__(self, encoder: Encoder, by_name: Mapping[str, str]):
        self.encoder, self.by_name = encoder, dict(by_name)

    def fields(self, name: str) -> dict[str, np.ndarray]:
        """What a record of that video holds: `text`, `text_mask`, `pooled`."""
        row, all_ = list(self.by_name).index(name), self._encoded
        return {
            "text": all_.tokens[row],
            "text_mask": all_.mask[row],
            "pooled": all_.pooled[row],
        }

    def to_json(self) -> dict[str, Any]:
        """What decides the codes."""
        return {"encoder": self.encoder.spec.to_json(), "captions": self.by_name}

    @functools.cached_property
    def _encoded(self) -> Text:
        return encode(self.encoder, list(self.by_name.values()))
