r"""Generate videos with a trained model.

    python -m dit_jax.sample --workdir runs/demo/train --labels 0,1,2 --num 16 \
        --steps 50 --guidance 3 --output runs/demo/samples
    python -m dit_jax.sample --workdir runs/mine --text "a dog runs" --text "rain" \
        --num 8 --output runs/mine/samples

Writes one mp4 a clip, sheet.png (rows clips, columns frames, real clips beside), and
samples.npz with the exact pixels, which is what metrics should read. What is not given
comes from the run's `sample.*` config.
"""

import dataclasses
import math
import sys
from functools import partial
from typing import Any

import numpy as np
from absl import flags
from jax.sharding import Mesh

from dit_jax import program
from dit_jax.errors import UserError
from dit_jax.inference import curves, generate, outputs, prompts, run_folder
from dit_jax.inference.caching import Rule
from dit_jax.inference.curves import Saving
from dit_jax.inference.generate import Watch
from dit_jax.inference.prompts import Prompts
from dit_jax.inference.run_folder import Run
from dit_jax.parallel import hosts, mesh
from dit_jax.progress import Progress

FLAGS = flags.FLAGS
Options = dict[str, Any]

flags.DEFINE_list("labels", None, "Classes by number or name, or all; repeated.")
flags.DEFINE_multi_string("text", [], "What to show, of models with text; repeated.")
flags.DEFINE_string("text_path", None, "Folder of the text encoder's weights.")
flags.DEFINE_integer(
    "given_frames", None, "Latent frames that clips go on from, of models told some."
)
flags.DEFINE_integer("num", 16, "How many clips; labels and texts take turns.")
flags.DEFINE_integer("steps", None, "Sampling steps.")
flags.DEFINE_float("guidance", None, "uncond + guidance (cond - uncond); 1.0 is off.")
flags.DEFINE_float("shift", None, "Shift of the time grid towards noise; 1.0 is off.")
flags.DEFINE_string(
    "sampler", None, "A sampler, with its options after a colon; docs/diffusion.md."
)
flags.DEFINE_string(
    "grid",
    None,
    "Where it asks, such as uniform or karras; without --shift, unshifted.",
)
flags.DEFINE_float("t_max", None, "Where sampling starts, at most 1, noise.")
flags.DEFINE_float("t_min", None, "Where sampling ends, at least 0, clean data.")
flags.DEFINE_string("clip", None, "What is done to every x0, such as clipped:limit=3.")
flags.DEFINE_string(
    "cache", None, "Calls to spare, such as mag or tea:threshold=0.2; none is off."
)
flags.DEFINE_string(
    "guidance_schedule", None, "When guidance acts, such as interval:low=0.4,high=1.0."
)
flags.DEFINE_string(
    "guidance_restraint", None, "What holds it back, such as rescaled:phi=0.7."
)
flags.DEFINE_integer("guidance_channels", None, "Only the first ones are guided.")
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
    if FLAGS.seed is not None and not 0 <= FLAGS.seed < 2**32:
        raise UserError(f"--seed is {FLAGS.seed}; give 0 to {2**32 - 1}")
    devices = mesh.build(data=-1, fsdp=1, context=1, tensor=1)
    run = run_folder.load(workdir, devices, step=FLAGS.step, weights=FLAGS.weights)
    wanted = prompts.make(
        run,
        FLAGS.num,
        labels=FLAGS.labels,
        words=FLAGS.text,
        text_path=FLAGS.text_path or run.config.text.path,
        num_given=FLAGS.given_frames,
    )
    options = sampling_options(run, devices.size)
    seed = run.config.seed if FLAGS.seed is None else FLAGS.seed
    facts = options | {"seed": seed, "step": run.step, "weights": run.weights}
    program.say(
        f"sampling {len(wanted)} clips of {wanted.summary} from {workdir} step "
        f"{run.step} ({run.weights} weights), seed {seed}: "
        + ", ".join(f"{k} {v}" for k, v in options.items() if v not in (None, "none"))
    )
    cache, rule = options.pop("cache"), None
    if cache != "none":
        rule, saving = _rule(cache, run, devices, wanted, seed, options)
        facts["saving"] = dataclasses.asdict(saving)
        program.say(f"cache {cache}: {saving}")
    batches: list[np.ndarray] = []
    made = generate.generate(
        run,
        devices,
        wanted.labels,
        **wanted.told,
        seed=seed,
        rule=rule,
        watch=_watch(),
        **options,
    )
    for videos in made:
        batches.append(videos)
        program.say(f"  {sum(map(len, batches))}/{len(wanted)}")
    if hosts.is_first():
        said = outputs.write(
            output,
            run,
            np.concatenate(batches),
            wanted,
            facts,
            mp4=FLAGS.mp4,
            sheet_rows=FLAGS.sheet_rows,
        )
        program.say(said)
    hosts.wait("samples written")


def _rule(
    name: str, run: Run, devices: Mesh, wanted: Prompts, seed: int, options: Options
) -> tuple[Rule, Saving]:
    """When a cache spares the blocks; measured where the run does not hold it yet."""
    told = generate.told(run, wanted.labels, **wanted.told)
    how = {key: value for key, value in options.items() if key != "batch_size"}
    return curves.rule_of(name, run, devices, FLAGS.workdir, told, seed=seed, **how)


def _watch() -> Watch | None:
    """Shows the steps of a batch on a terminal; elsewhere batches are enough."""
    if not (sys.stdout.isatty() and hosts.is_first()):
        return None
    return partial(Progress("steps"), "  sampling")


def sampling_options(run: Run, num_devices: int) -> Options:
    """The run's `sample.*` values under the flags that were given.

    The run's shift is of its own grid: another grid starts without.
    """
    options = dict(run.config.sample)
    if FLAGS.grid is not None:
        options["shift"] = 1.0
    for name in (flag for flag in options if flag in FLAGS):
        if FLAGS[name].value is not None:
            options[name] = FLAGS[name].value
    # At least the configured batch, and a whole number of rows on every device.
    rows = -(-options["batch_size"] // num_devices)
    return options | {"batch_size": rows * num_devices}


if __name__ == "__main__":
    program.run(main)
