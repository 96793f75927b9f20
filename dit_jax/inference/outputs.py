"""The files of a sampling: exact pixels, clips to look at, and a sheet of them."""

import io
import re
from pathlib import PurePath
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from dit_jax import files
from dit_jax.data.pixels import clips_of_records
from dit_jax.data.reader import Reader
from dit_jax.data.video import write_video
from dit_jax.errors import DataError, UserError
from dit_jax.inference import sheet
from dit_jax.inference.prompts import Prompts
from dit_jax.inference.run_folder import Run

FACTS = "samples.json"
Videos = UInt8[np.ndarray, "N F H W 3"]


def write(
    output: files.PathLike,
    run: Run,
    made: Videos | Float[np.ndarray, "N T H W C"],
    prompts: Prompts,
    facts: dict[str, Any],
    *,
    mp4: bool,
    sheet_rows: int,
) -> str:
    """Writes what `made` is, pixels or latents, and returns what to say about it."""
    folder = files.make_folder(output)
    if (folder / FACTS).exists():  # of an earlier sampling, whose clips are no more
        for clip in folder.glob("[0-9][0-9][0-9]*_*.mp4"):
            clip.unlink()
    words = {} if prompts.words is None else {"texts": prompts.words}
    facts = facts | words | {"classes": run.classes}
    files.write_json(folder / FACTS, facts)
    kind = "latents" if run.codec is None else "videos"
    arrays = io.BytesIO()
    held: dict[str, Any] = {kind: made, "labels": prompts.labels}
    np.savez(arrays, **held, fps=np.float32(run.fps))
    files.write_bytes(folder / "samples.npz", arrays.getvalue())
    if run.codec is None:
        return (
            f"wrote {output}: samples.npz with the latents of {len(made)} clips; "
            "frames need a codec, which python -m dit_jax.convert stores with "
            "--codec=DIR"
        )
    if mp4:
        for i, video in enumerate(made):
            write_video(folder / f"{i:03}_{_name(prompts, i)}.mp4", video, run.fps)
    said = _write_sheet(folder, run, made, prompts, sheet_rows)
    return f"{said}wrote {output}: sheet.png, samples.npz, {len(made)} clips"


def _write_sheet(
    folder: PurePath, run: Run, made: Videos, prompts: Prompts, num_rows: int
) -> str:
    """Rows are spread over all clips, since labels may come sorted. Returns why there
    are no real clips on it, as a line, or nothing."""
    count = min(num_rows, len(made))
    rows = np.linspace(0, len(made) - 1, count).round().astype(int)
    blocks, said = [("sampled", made[rows])], ""
    try:
        real = _real(run, prompts, rows)
    except (UserError, DataError) as error:
        real, said = None, f"no real clips on the sheet: {error}\n"
    blocks += [] if real is None else [("real", real)]
    titles = [prompts.title(row, run.classes) for row in rows]
    files.write_bytes(folder / "sheet.png", sheet.png(blocks, titles))
    return said


def _real(run: Run, prompts: Prompts, rows: Int[np.ndarray, " R"]) -> Videos | None:
    """The clips that are gone on from, else training clips of the same labels; None
    without labels or data."""
    path = run.config.data.path
    if path is None or not files.path(path).exists():
        return None
    given = prompts.beginnings
    if given is not None:
        records = [given.records[row] for row in rows]
        return clips_of_records(path, records, split=given.split)
    labels = prompts.labels[rows]
    if labels.max() >= len(run.classes):
        return None
    return clips_of_records(path, examples_of(Reader(path, "train"), labels))


def examples_of(reader: Reader, labels: Int[np.ndarray, " N"]) -> list[int]:
    """A record for each label; a label that is asked for again takes another one."""
    found = np.array([int(reader[i]["label"]) for i in range(len(reader))])
    records = []
    for row, label in enumerate(labels):
        same = np.flatnonzero(found == label)
        turn = int(np.sum(labels[:row] == label))
        records.append(int(same[(turn * 7) % len(same)]))
    return records


def _name(prompts: Prompts, row: int) -> str:
    """What a clip shows, as a part of a file name."""
    if prompts.words is None:
        return f"class{prompts.labels[row]}"
    slug = re.sub(r"\W+", "-", prompts.words[row].lower())[:40].strip("-")
    return slug or "no-text"
