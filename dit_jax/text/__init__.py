"""Text encoders: texts to tokens and one pooled vector. `text.load(name)` gets one."""

from collections.abc import Callable

from dit_jax import files
from dit_jax.errors import DataError, choose
from dit_jax.text.captions import Captions
from dit_jax.text.captions import encode as encode_captions
from dit_jax.text.encoding import Encoder, Text, TextSpec
from dit_jax.text.minilm import MiniLM

__all__ = [
    "ENCODERS",
    "NONE",
    "Captions",
    "Encoder",
    "Text",
    "TextSpec",
    "encode_captions",
    "load",
    "load_same",
    "require_name",
]

NONE = "none"
ENCODERS: dict[str, Callable[..., Encoder]] = {"minilm": MiniLM}
"""name -> `(path or None, length=) -> Encoder`."""


def require_name(name: str) -> None:
    """UserError for a `prepare.text` that is neither an encoder's name nor none."""
    choose({NONE: None, **ENCODERS}, name, "prepare.text")


def load(name: str, path: files.PathLike | None = None, *, length: int) -> Encoder:
    """The encoder of a name. path: its weights; None finds the installed ones."""
    return choose(ENCODERS, name, "prepare.text")(path, length=length)


def load_same(spec: TextSpec, path: files.PathLike | None = None) -> Encoder:
    """The encoder that `spec` was taken from; DataError when what is found differs."""
    encoder = load(spec.name, path, length=spec.length)
    if encoder.spec != spec:
        raise DataError(
            f"the text encoder found here is {encoder.spec.name} "
            f"{encoder.spec.sha256[:12]} (vocabulary "
            f"{encoder.spec.vocabulary_sha256[:12]}), but the run was trained with "
            f"{spec.sha256[:12]} ({spec.vocabulary_sha256[:12]}); run `make venv`, or "
            "give the right one with --text_path"
        )
    return encoder
