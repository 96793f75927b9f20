"""Text to token numbers, as uncased BERT models want them (WordPiece).

A text is cleaned, stripped of accents and lowered; words are runs without space, and
every punctuation mark and CJK character is a word of its own. A word is cut greedily
into the longest pieces of the vocabulary; pieces after the first start with ##.
Devlin et al. 2018, arXiv:1810.04805; Wu et al. 2016, arXiv:1609.08144, section 4.1.
"""

import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int

PAD, UNKNOWN, BEGIN, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
MAX_WORD = 100  # characters; a longer word is unknown
ASCII_PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
# Control, format (what joins emoji), surrogate, private use; the unassigned stay.
DROPPED = ("Cc", "Cf", "Cs", "Co")
# CJK ideographs, first and last of each block; kana and hangul are written in words.
IDEOGRAPHS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


class WordPiece:
    """`tokenizer(texts, length) -> (ids, mask)`. vocabulary: the pieces by number.

    Names of special tokens inside a text, such as [SEP], are ordinary characters.
    """

    def __init__(self, vocabulary: Sequence[str]):
        self._numbers = {piece: i for i, piece in enumerate(vocabulary)}

    def __call__(
        self, texts: Sequence[str], length: int
    ) -> tuple[Int[np.ndarray, "B L"], Int[np.ndarray, "B L"]]:
        """int32 numbers, and 1 where there is a token. What is too long is cut before
        the last token, [SEP]. length: at least 2."""
        ids = np.full((len(texts), length), self._numbers[PAD], np.int32)
        mask = np.zeros_like(ids)
        for row, text in enumerate(texts):
            pieces = [BEGIN, *self.pieces(text)[: length - 2], END]
            ids[row, : len(pieces)] = [self._numbers[piece] for piece in pieces]
            mask[row, : len(pieces)] = 1
        return ids, mask

    def pieces(self, text: str) -> list[str]:
        """The pieces of a text, without [CLS] and [SEP]."""
        return [piece for word in words(text) for piece in self._cut(word)]

    def _cut(self, word: str) -> list[str]:
        found: list[str] = []
        start = 0
        while start < len(word) <= MAX_WORD:
            prefix = "##" if start else ""
            for end in range(len(word), start, -1):
                if prefix + word[start:end] in self._numbers:
                    break
            else:
                return [UNKNOWN]
            found.append(prefix + word[start:end])
            start = end
        return found or [UNKNOWN]


def words(text: str) -> list[str]:
    """Lowered words and punctuation marks of a text, in order."""
    return "".join(_spaced(text)).split()


def _spaced(text: str) -> Iterator[str]:
    for character in text:
        if character in "\t\n\r":
            yield " "
        elif unicodedata.category(character) in DROPPED or character == "\ufffd":
            continue
        elif character.isspace():
            yield " "
        else:
            plain = unicodedata.normalize("NFD", character)
            lowered = "".join(map(_lowered, plain))
            yield f" {lowered} " if _is_ideograph(character) else lowered


def _lowered(character: str) -> str:
    """One character without accents; a mark stands alone."""
    kind = unicodedata.category(character)
    if kind == "Mn":
        return ""
    if kind[0] == "P" or character in ASCII_PUNCTUATION:
        return f" {character} "
    return character.lower()


def _is_ideograph(character: str) -> bool:
    return any(first <= ord(character) <= last for first, last in IDEOGRAPHS)
