"""What a user wants to see, in words, as the run's own text encoder says it."""

import itertools
from collections.abc import Sequence

import numpy as np

from dit_jax import files, text
from dit_jax.errors import UserError
from dit_jax.inference.run_folder import Run
from dit_jax.text import Text, TextSpec


def reads_text(run: Run) -> bool:
    return bool(run.denoiser.reads & {"text", "pooled"})


def take_turns(wanted: Sequence[str], run: Run, num: int) -> list[str] | None:
    """`num` texts; the wanted ones take turns. None for a run that reads no text.

    UserError for texts that nobody reads, and for none where they are read: who wants
    clips without text says so by an empty one.
    """
    if not reads_text(run):
        if wanted:
            raise UserError(
                "--text is given, but the run's model reads no text (model.text is "
                "none); leave it out, or sample from a run that was trained with text"
            )
        return None
    if not wanted:
        raise UserError(
            "the run's model reads text and none is given; add --text 'what to show', "
            "once or several times, or --text '' for clips without text"
        )
    if num < len(wanted):
        raise UserError(
            f"--num is {num}, fewer than the {len(wanted)} texts; raise it, or leave "
            "texts out"
        )
    for words in wanted:
        if not words.isprintable() and any(map(_is_broken, words)):
            raise UserError(f"--text {words!r} is not UTF-8; write it as UTF-8")
    plain = [" ".join(words.split()) for words in wanted]
    return list(itertools.islice(itertools.cycle(plain), num))


def _is_broken(letter: str) -> bool:
    """What Python makes of a byte that is no text."""
    return "\ud800" <= letter <= "\udfff"


def encode(texts: Sequence[str], run: Run, path: files.PathLike | None = None) -> Text:
    """The texts as the run's data were encoded; an empty one is no text.

    path: the encoder's weights; None finds the installed ones. The encoder is not
    needed where every text is empty.
    """
    model = run.config.model
    unique = sorted({words for words in texts if words})
    if not unique:
        shape = (len(texts), model.text_length, model.text_dims)
        return Text(
            tokens=np.zeros(shape, np.float32),
            mask=np.zeros(shape[:2], np.int32),
            pooled=np.zeros((shape[0], shape[2]), np.float32),
        )
    if run.text_encoder is None:
        raise UserError(
            "the run does not say which text encoder it was trained with, so --text "
            "cannot be encoded; give --text '' or pass encoded text to "
            "dit_jax.inference.generate"
        )
    encoder = text.load_same(TextSpec.from_json(run.text_encoder), path)
    found = text.encode_captions(encoder, ["", *unique])
    rows = np.array([unique.index(words) + 1 if words else 0 for words in texts])
    return Text(found.tokens[rows], found.mask[rows], found.pooled[rows])
