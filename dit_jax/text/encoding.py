"""What every text encoder gives, and how one is told from another."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from dit_jax.errors import DataError


@dataclasses.dataclass(frozen=True)
class Text:
    """Encoded texts, on the host. mask: 1 where there is a token; tokens are 0
    elsewhere. A row without any is no text: models then use what they learned for it.
    """

    tokens: Float[np.ndarray, "B L E"]
    mask: Int[np.ndarray, "B L"]
    pooled: Float[np.ndarray, "B E"]


@dataclasses.dataclass(frozen=True)
class TextSpec:
    """An encoder's identity. name: its row of `ENCODERS`; length: tokens that are kept
    of a text; the sums are of its weights and of its vocabulary."""

    name: str
    dims: int
    length: int
    sha256: str
    vocabulary_sha256: str

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "TextSpec":
        try:
            return cls(**value)
        except TypeError as error:
            raise DataError(
                f"the text encoder's entry is not of this version ({error}); make the "
                "dataset anew"
            ) from error


@runtime_checkable
class Encoder(Protocol):
    """A function of each text alone: other texts and their order change nothing."""

    @property
    def spec(self) -> TextSpec: ...

    def encode(self, texts: Sequence[str]) -> Text:
        """float32. An empty text has tokens too, those that begin and end it."""
        ...
