"""What every clip of a sampling shall show: a label, words, given first frames."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from dit_jax import files
from dit_jax.errors import UserError, nearest
from dit_jax.inference import beginnings, texts
from dit_jax.inference.beginnings import Beginnings
from dit_jax.inference.run_folder import Run
from dit_jax.text import Text


@dataclasses.dataclass(frozen=True)
class Prompts:
    """A row a clip. words: in plain text, and `text` as the run's encoder says them;
    None for a run that reads no text."""

    labels: Int[np.ndarray, " N"]
    words: list[str] | None = None
    text: Text | None = None
    beginnings: Beginnings | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def told(self) -> dict[str, Any]:
        """What `generate` takes beside the labels."""
        given = self.beginnings
        return {"text": self.text, "frames": None if given is None else given.frames}

    @property
    def summary(self) -> str:
        told = f"{len(set(self.labels.tolist()))} classes"
        told = told if self.words is None else f"{len(set(self.words))} texts"
        if self.beginnings is None:
            return told
        count = self.beginnings.frames.shape[1]
        return f"{told}, going on from {count} latent frames"

    def title(self, row: int, classes: Sequence[dict[str, Any]]) -> str:
        label = self.labels[row]
        parts = [classes[label]["name"]] if label < len(classes) else []
        parts += [] if self.words is None else [self.words[row] or "no text"]
        return ", ".join(parts)


def make(
    run: Run,
    num: int,
    *,
    labels: Sequence[str] | None,
    words: Sequence[str],
    text_path: files.PathLike | None,
    num_given: int | None,
) -> Prompts:
    """`num` prompts; labels and words take turns. UserError for what the run's model is
    not told. labels: None is all classes, or, where there are words, none."""
    turns = texts.take_turns(words, run, num)
    given = _beginnings(run, num, num_given)
    if given is not None:
        if labels is not None:
            raise UserError(
                "--labels is given, but the clips go on from those of the data and "
                "have their labels; leave it out"
            )
        numbers = given.labels
    elif labels is None and turns is not None:  # told by text alone
        numbers = np.full(num, len(run.classes), np.int32)
    else:
        numbers = _take_turns(["all"] if labels is None else labels, run.classes, num)
    text = None if turns is None else texts.encode(turns, run, text_path)
    return Prompts(numbers, turns, text, given)


def _beginnings(run: Run, num: int, num_given: int | None) -> Beginnings | None:
    if beginnings.goes_on(run):
        return beginnings.read(run, num, num_given)
    if num_given is not None:
        raise UserError(
            "--given_frames is given, but the run's model is told no frames "
            "(model.frames is none); leave it out, or sample from a run that was "
            "trained with train.given_frames"
        )
    return None


def _take_turns(
    wanted: Sequence[str], classes: Sequence[dict[str, Any]], num: int
) -> Int[np.ndarray, " N"]:
    """`num` class numbers; the wanted ones take turns."""
    names = [c["name"] for c in classes]
    if not classes:
        if list(wanted) != ["all"]:
            raise UserError(
                "--labels is given, but the run has no classes; leave it out"
            )
        return np.zeros(num, np.int32)
    if list(wanted) == ["all"]:
        wanted = [str(i) for i in range(len(classes))]
    if not wanted:
        raise UserError("--labels is empty; give class numbers or names, or all")
    numbers = []
    for text in wanted:
        if text in names:
            numbers.append(names.index(text))
        elif text.isascii() and text.isdigit() and int(text) < len(classes):
            numbers.append(int(text))
        else:
            raise UserError(
                f"--labels has {text!r}, but the run has classes 0 to "
                f"{len(classes) - 1} ({', '.join(names[:8])}...); choose among them"
                f"{nearest(text, names)}"
            )
    return np.array(list(itertools.islice(itertools.cycle(numbers), num)), np.int32)
