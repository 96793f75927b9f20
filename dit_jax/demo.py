"""Real clips in, a trained tiny model, sampled videos and a real FVD out.

    python -m dit_jax.demo --output runs/demo

Runs prepare, train and sample as you would by hand, then measures the samples beside
controls. Run again, it continues where it stopped.
"""

import dataclasses
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from absl import flags
from jaxtyping import Int, UInt8

from dit_jax import config as config_lib
from dit_jax import files, program
from dit_jax.codecs.pixels import to_uint8, to_unit
from dit_jax.data.pixels import clips_of_records
from dit_jax.data.reader import Reader
from dit_jax.errors import UserError
from dit_jax.evaluation.features import Extractor
from dit_jax.evaluation.fvd import fvd
from dit_jax.evaluation.nearest import is_memorised, label_accuracy, nearest
from dit_jax.inference import generate, run_folder
from dit_jax.inference.run_folder import Run
from dit_jax.parallel import mesh

FLAGS = flags.FLAGS

CONFIG = "configs/demo.py"
OUTPUT = "runs/demo"
NUM = 64  # clips a side of every distance
Clips = UInt8[np.ndarray, "N F Hp Wp 3"]


def main(arguments: list[str]) -> None:
    program.refuse_words(arguments)
    start = time.monotonic()
    output = files.absolute(FLAGS.output or OUTPUT)
    data, workdir, samples = (
        os.path.join(output, name) for name in ("data", "train", "samples")
    )
    config = FLAGS.config or CONFIG
    seed = config_lib.load(config, program.overrides()).seed
    shared = [f"--config.{k}={v}" for k, v in program.overrides().items()]

    run_stage("prepare", f"--config={config}", f"--output={data}", *shared)
    run_stage(
        "train",
        f"--config={config}",
        f"--workdir={workdir}",
        f"--config.data.path={data}",
        *shared,
    )
    labels = proportional_labels(_labels(Reader(data, "train")), NUM)
    if not _is_sampled(samples, workdir, seed):
        run_stage(
            "sample",
            f"--workdir={workdir}",
            f"--labels={','.join(map(str, labels))}",
            f"--num={NUM}",
            f"--seed={seed}",
            f"--output={samples}",
        )
    table = measure(workdir, data, samples, os.path.join(output, "evaluations"), seed)
    program.say("", *render(table), "")
    program.say(
        f"look at {samples}/sheet.png; clips in {samples}, numbers in "
        f"{output}/evaluations, run folder {workdir}, dataset {data}",
        f"done in {(time.monotonic() - start) / 60:.1f} minutes",
    )


def run_stage(verb: str, *arguments: str) -> None:
    """Runs a program on two CPU devices where there is no accelerator; shows it."""
    command = [sys.executable, "-m", f"dit_jax.{verb}", *arguments]
    program.say("", f"$ python {shlex.join(command[1:])}")
    environment = {"JAX_NUM_CPU_DEVICES": str(min(2, os.cpu_count() or 1))}
    # From here on a Ctrl-C is the stage's, which needs the time to save.
    stage = subprocess.Popen(command, env=environment | os.environ)
    interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: stage.send_signal(number))
    code = stage.wait()
    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if code:
        program.say(f"{verb} ended with exit code {code}; its own message is above")
        sys.exit(code if code > 0 else 128 - code)


def proportional_labels(
    labels: Int[np.ndarray, " M"], num: int
) -> Int[np.ndarray, " num"]:
    """`num` labels in the proportions of the training clips (largest remainders)."""
    classes, counts = np.unique(labels, return_counts=True)
    exact = counts * num / counts.sum()
    chosen = np.floor(exact).astype(int)
    order = np.argsort(chosen - exact, kind="stable")
    chosen[order[: num - chosen.sum()]] += 1
    return np.repeat(classes, chosen)


def measure(
    workdir: str, data: str, samples: str, evaluations: str, seed: int
) -> dict[str, Any]:
    """All rows of the table; each distance also as a JSON file with its protocol.

    Every distance has NUM clips a side, the same reference, seed and protocol.
    """
    arrays = np.load(files.path(samples) / "samples.npz", allow_pickle=False)
    made_of = {"samples_sha256": files.sha256(files.path(samples) / "samples.npz")}
    summary = files.path(evaluations) / "summary.json"
    if summary.exists() and files.read_json(summary)["made_of"] == made_of:
        return files.read_json(summary)
    program.say("", "measuring: I3D features of the samples and the controls")
    devices = mesh.build(data=-1, fsdp=1, context=1, tensor=1)
    run = run_folder.load(workdir, devices)
    train = Reader(data, "train")
    clips = clips_of_records(data, range(len(train)))
    drawn = np.random.default_rng(seed).permutation(len(clips))
    reference, others = clips[drawn[:NUM]], clips[drawn[NUM : 2 * NUM]]
    held_out = _held_out(data, seed)
    sets: dict[str, tuple[Clips, Callable[[], Clips]]] = {
        "samples": (reference, lambda: arrays["videos"]),
        "samples_against_held_out": (held_out, lambda: arrays["videos"]),
        "real": (reference, lambda: others),
        "codec_reconstruction": (reference, lambda: reconstruct(run, reference)),
        "frozen_real": (reference, lambda: freeze(others)),
        "untrained": (reference, lambda: untrained(run, devices, arrays["labels"])),
    }
    extractor = Extractor()
    rows = {}
    for name, (real, make) in sets.items():
        result = fvd(real, make(), extractor=extractor, seed=seed)
        files.write_json(files.path(evaluations) / f"{name}.json", result.to_dict())
        rows[name] = result.scores.fvd
        program.say(f"  {name}: {result.summary()}")
    found = nearest(arrays["videos"], clips)
    table = {
        "format_version": 1,
        "made_of": made_of,
        "num": NUM,
        "seed": seed,
        "fvd": rows,
        "label_accuracy": label_accuracy(_labels(train)[found.index], arrays["labels"]),
        "nearest_psnr_db": float(np.mean(found.psnr)),
        "memorised_share": float(np.mean(is_memorised(found.psnr))),
        "validation_loss": last_validation_loss(workdir),
        "num_training_clips": len(clips),
    }
    files.write_json(summary, table)
    return table


def reconstruct(run: Run, clips: Clips) -> Clips:
    """What the codec alone makes of real clips."""
    assert run.codec is not None, "the demo fits one"
    return np.asarray(to_uint8(run.codec.decode(run.codec.encode(to_unit(clips)))))


def freeze(clips: Clips) -> Clips:
    """Every clip stopped at its first frame: right content, no motion."""
    return np.repeat(clips[:, :1], clips.shape[1], axis=1)


def untrained(run: Run, devices: mesh.Mesh, labels: np.ndarray) -> Clips:
    """Samples of the same network before its first step."""
    fresh = dataclasses.replace(run, params=run.denoiser.init(run.config.seed))
    options = dict(run.config.sample)
    del options["cache"]  # whose curve would be of the trained network
    made = generate.generate(fresh, devices, labels, seed=run.config.seed, **options)
    return np.concatenate(list(made))


def render(table: dict[str, Any]) -> list[str]:
    """The table that is printed, as Markdown."""
    fvd_rows = table["fvd"]
    num = table["num"]
    rows = [
        (f"FVD@{num}, samples", f"{fvd_rows['samples']:.0f}"),
        (
            f"FVD@{num}, samples against held-out windows",
            f"{fvd_rows['samples_against_held_out']:.0f}",
        ),
        (f"FVD@{num}, other real windows", f"{fvd_rows['real']:.0f}"),
        (
            f"FVD@{num}, codec reconstruction",
            f"{fvd_rows['codec_reconstruction']:.0f}",
        ),
        (f"FVD@{num}, frozen real clips", f"{fvd_rows['frozen_real']:.0f}"),
        (f"FVD@{num}, untrained model", f"{fvd_rows['untrained']:.0f}"),
        (
            "samples whose nearest training clip has their label",
            f"{table['label_accuracy']:.1%}",
        ),
        ("PSNR to the nearest training clip", f"{table['nearest_psnr_db']:.1f} dB"),
        ("memorised (nearest PSNR above 20 dB)", f"{table['memorised_share']:.0%}"),
        ("validation loss", f"{table['validation_loss']:.4f}"),
    ]
    width = max(len(name) for name, _ in rows)
    lines = [
        f"| {'measure':<{width}} | value    |",
        f"|{'-' * (width + 2)}|----------|",
    ]
    return lines + [f"| {name:<{width}} | {value:<8} |" for name, value in rows]


def last_validation_loss(workdir: str) -> float:
    lines = (files.path(workdir) / "metrics.jsonl").read_text().splitlines()
    values = [json.loads(line) for line in lines]
    return [v["validation_loss"] for v in values if "validation_loss" in v][-1]


def _held_out(data: str, seed: int) -> Clips:
    size = len(Reader(data, "validation"))
    if size < NUM:
        raise UserError(
            f"{data} has {size} validation clips, wanted {NUM}; raise "
            "prepare.validation or lower prepare.validation_hop"
        )
    drawn = np.random.default_rng(seed).permutation(size)[:NUM]
    return clips_of_records(data, drawn.tolist(), split="validation")


def _labels(reader: Reader) -> Int[np.ndarray, " M"]:
    return np.array([int(reader[i]["label"]) for i in range(len(reader))])


def _is_sampled(samples: str, workdir: str, seed: int) -> bool:
    facts = files.path(samples) / "samples.json"
    if not facts.exists():
        return False
    stored = files.read_json(facts)
    newest = run_folder.newest_step(workdir)
    return (stored["seed"], stored["step"]) == (seed, newest)


if __name__ == "__main__":
    program.run(main)
