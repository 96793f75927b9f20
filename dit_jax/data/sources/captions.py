"""What a video shows, in words: one caption, in a text file beside the video."""

import os
from collections.abc import Sequence

from dit_jax import files
from dit_jax.data.sources.videos import Source
from dit_jax.errors import DataError, UserError

SUFFIX = ".txt"


def read(sources: Sequence[Source]) -> dict[str, str]:
    """The caption of every source, by origin: `dog.txt` for `dog.mp4`, UTF-8, one
    caption a file, line ends and runs of space as one space. It may be empty.

    UserError for a missing file, DataError for one that is not UTF-8.
    """
    return {source.origin: _caption(source) for source in sources}


def _caption(source: Source) -> str:
    file = files.path(source.path).with_suffix(SUFFIX)
    if not file.is_file():
        raise UserError(
            f"source {source.origin!r} has no caption {os.fspath(file)!r}; write one "
            "(it may be empty), or set prepare.text=none"
        )
    try:
        return " ".join(files.read_bytes(file).decode().split())
    except UnicodeDecodeError as error:
        raise DataError(
            f"caption {os.fspath(file)!r} is not UTF-8 text ({error.reason} at byte "
            f"{error.start}); convert it"
        ) from error
