r"""Generate videos with a trained model.

    python -m dit_jax.sample --workdir runs/demo/train --labels 0,1,2 --num 16 \
        --steps 50 --guidance 3 --output runs/demo/samples

Writes one mp4 a clip, sheet.png (rows clips, columns frames, real clips beside), and
samples.npz with the exact pixels, which is what metrics should read. What is not given
comes from the run's `sample.*` config.
"""

import io
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import flags

from dit_jax import files, program
from dit_jax.data.pixels import clips_of_records
from dit_jax.data.reader import Reader
from dit_jax.data.video import write_video
from dit_jax.errors import DataError, UserError, nearest
from dit_jax.inference import generate, run_folder, sheet
from dit_jax.inference.run_folder import Run
from dit_jax.parallel import hosts, mesh

FLAGS = flags.FLAGS

flags.DEFINE_list("labels", ["all"], "Classes by number or name, or all; repeated.")
flags.DEFINE_integer("num", 16, "How many clips; labels take turns.")
flags.DEFINE_integer("steps", None, "Sampling steps.")
flags.DEFINE_float("guidance", None, "uncond + guidance (cond - uncond); 1.0 is off.")
flags.DEFINE_float("shift", None, "Shift of the time grid towards noise; 1.0 is off.")
flags.DEFINE_string("sampler", None, "euler or heun.")
flags.DEFINE_integer("step", None, "Checkpoint step; the newest when not given.")
flags.DEFINE_enum("weights", "ema", run_folder.WEIGHTS, "Which weights to use.")
flags.DEFINE_integer("sheet_rows", 16, "Rows of sheet.png.")
flags.DEFINE_bool("mp4", True, "Write one mp4 a clip (lossy; for looking).")


def main(arguments: list[str]) -> None:
    program.refuse_words(arguments)
    program.refuse_config()
    workdir, output = program.require_flag("workdir"), program.require_flag("output")
    for name in ("num", "sheet_rows"):
        if getattr(FLAGS, name) < 1:
            raise UserError(f"--{name} is {getattr(FLAGS, name)}; give at least 1")
    if FLAGS.guidance is not None and not math.isfinite(FLAGS.guidance):
        raise UserError(f"--guidance is {FLAGS.guidance}; give a finite number")
    devices = mesh.build(data=-1, fsdp=1, context=1, tensor=1)
    run = run_folder.load(workdir, devices, step=FLAGS.step, weights=FLAGS.weights)
    labels = read_labels(FLAGS.labels, run.classes, FLAGS.num)
    options = sampling_options(run, devices.size)
    seed = run.config.seed if FLAGS.seed is None else FLAGS.seed
    program.say(
        f"sampling {len(labels)} clips of {len(set(labels.tolist()))} classes from "
        f"{workdir} step {run.step} ({run.weights} weights), seed {seed}: "
        + ", ".join(f"{key} {value}" for key, value in options.items())
    )
    batches = []
    for videos in generate.generate(run, devices, labels, seed=seed, **options):
        batches.append(videos)
        program.say(f"  {sum(map(len, batches))}/{len(labels)}")
    if hosts.is_first():
        facts = options | {"seed": seed, "step": run.step, "weights": run.weights}
        write(output, run, np.concatenate(batches), labels, facts)
    hosts.wait("samples written")


def sampling_options(run: Run, num_devices: int) -> dict[str, Any]:
    """The run's `sample.*` values under the flags that were given."""
    options = dict(run.config.sample)
    for name in ("steps", "guidance", "shift", "sampler"):
        if FLAGS[name].value is not None:
            options[name] = FLAGS[name].value
    # At least the configured batch, and a whole number of rows on every device.
    rows = -(-options["batch_size"] // num_devices)
    return options | {"batch_size": rows * num_devices}


def read_labels(
    wanted: Sequence[str], classes: list[dict[str, Any]], num: int
) -> np.ndarray:
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


def write(
    output: str, run: Run, videos: np.ndarray, labels: np.ndarray, facts: dict[str, Any]
) -> None:
    folder = files.make_folder(output)
    arrays = io.BytesIO()
    np.savez(arrays, videos=videos, labels=labels, fps=np.float32(run.fps))
    files.write_bytes(folder / "samples.npz", arrays.getvalue())
    if FLAGS.mp4:
        for i, (video, label) in enumerate(zip(videos, labels, strict=True)):
            name = f"{i:03}_class{label}.mp4"
            write_video(folder / name, video, run.fps)
    # Spread over all clips: labels may come sorted.
    count = min(FLAGS.sheet_rows, len(videos))
    rows = np.linspace(0, len(videos) - 1, count).round().astype(int)
    blocks = [("sampled", videos[rows]), *real_blocks(run, labels[rows])]
    names = [_class_name(run, label) for label in labels[rows]]
    files.write_bytes(folder / "sheet.png", sheet.png(blocks, names))
    files.write_json(folder / "samples.json", facts | {"classes": run.classes})
    program.say(f"wrote {output}: sheet.png, samples.npz, {len(videos)} clips")


def real_blocks(run: Run, labels: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Training clips of the same labels; none where their data are gone."""
    path = run.config.data.path
    if path is None or not files.path(path).exists() or not run.classes:
        return []
    try:
        records = examples_of(Reader(path, "train"), labels)
        return [("real", clips_of_records(path, records))]
    except (UserError, DataError) as error:
        program.say(f"no real clips on the sheet: {error}")
        return []


def examples_of(reader: Reader, labels: np.ndarray) -> list[int]:
    """A record for each label; a label that is asked for again takes another one."""
    found = np.array([int(reader[i]["label"]) for i in range(len(reader))])
    records = []
    for row, label in enumerate(labels):
        same = np.flatnonzero(found == label)
        turn = int(np.sum(labels[:row] == label))
        records.append(int(same[(turn * 7) % len(same)]))
    return records


def _class_name(run: Run, label: int) -> str:
    return run.classes[label]["name"] if run.classes else ""


if __name__ == "__main__":
    program.run(main)
