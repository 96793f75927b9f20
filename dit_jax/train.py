r"""Train a video diffusion transformer, or go on with a run.

    python -m dit_jax.train --config configs/joint.py:b/1x2x2 --workdir runs/joint-b \
        --config.data.path=DIR [--config.key=value ...]

A run folder that holds a checkpoint is resumed: its stored config is used, --config is
not needed, and a value that would change what is being trained is refused.
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from ml_collections import ConfigDict as Config

from dit_jax import files, program
from dit_jax.checkpoints import Checkpoints
from dit_jax.data import manifest as manifest_lib
from dit_jax.data.loader import Loader, Validation, require_repeats
from dit_jax.data.manifest import Manifest
from dit_jax.errors import UserError
from dit_jax.parallel import mesh, sharding
from dit_jax.training import (
    assembly,
    hooks,
    identity,
    loop,
    metrics,
    profile,
    state,
    warm_start,
)
from dit_jax.training.assembly import Assembly
from dit_jax.training.profile import Profile
from dit_jax.training.stopping import StopRequest
from dit_jax.training.throughput import Dispatching, Waiting, peak
from dit_jax.types import Batch

flags.DEFINE_string(
    "profile", None, "START:STOP, completed steps to trace into WORKDIR/profile."
)


def main(arguments: list[str]) -> None:
    """Checks everything first; writes only what can no longer be refused."""
    stop = StopRequest()
    program.refuse_words(arguments)
    workdir = files.absolute(program.require_flag("workdir"))
    given = program.config if program.FLAGS.config is not None else None
    config = identity.settings(workdir, given, program.overrides())
    manifest = manifest_lib.read(_data_path(config))
    codec = identity.check_data(workdir, config.data.path, manifest)
    require_repeats(config.data.repeats, manifest)
    run = assembly.assemble(config, latent_facts(manifest), mesh.build(**config.mesh))
    room = (config.checkpoint.keep + 1) * state.num_bytes(run.abstract_state)
    files.require_free_space(workdir, room, "the checkpoints of this run")
    held = identity.lock(workdir)

    checkpoints = Checkpoints(workdir, keep=config.checkpoint.keep)
    say_plan(run, config, workdir, manifest)
    profiling = make_profiling(config, workdir, checkpoints.latest() or 0)
    train_state, first_step = start(run, config, checkpoints)
    if first_step >= config.train.num_steps:
        program.say(f"{workdir} is already at step {first_step}; nothing to do")
        return
    batches = Waiting(read_batches(run, config, first_step))
    train_step = Dispatching(run.train_step, first_step)
    validation = read_validation(run, config, manifest)
    identity.write(workdir, config, manifest, codec, first_step)

    logger = make_logger(run, config, workdir, batches, train_step, first_step)
    validate = make_validation(run, config, validation, logger.report)
    save = hooks.Save(
        checkpoints,
        every_steps=config.checkpoint.every_steps,
        num_steps=config.train.num_steps,
    )
    for hook in profiling:
        hook(first_step, train_state, {})  # a trace may begin with the first step
    try:
        loop.train(
            train_state,
            batches,
            train_step,
            first_step=first_step,
            num_steps=config.train.num_steps,
            hooks=[validate, logger, save, *profiling],
            save=save.now,
            stop_requested=stop.requested,
        )
    finally:
        checkpoints.close()
        logger.close()
        for hook in profiling:
            hook.close()
    if held is not None:
        held.close()
    program.say(f"wrote {workdir}: checkpoints/, metrics.jsonl, config.json, codec/")
    for hook in profiling:
        program.say(f"wrote {hook.folder}: open it with xprof or ui.perfetto.dev")


def _data_path(config: Config) -> str:
    if config.data.path is None:
        raise UserError(
            "data.path is not set; give --config.data.path=DIR, a folder that "
            "python -m dit_jax.prepare wrote"
        )
    return config.data.path


def latent_facts(manifest: Manifest) -> assembly.LatentFacts:
    return assembly.LatentFacts(
        latent_shape=manifest.latent_shape,
        num_classes=len(manifest.classes),
        flip_sign=manifest.codec.flip_sign,
        text_shape=manifest.text_shape,
    )


def start(
    run: Assembly, config: Config, checkpoints: Checkpoints
) -> tuple[state.TrainState, int]:
    """The newest checkpoint, else step 0 (from another run's weights if asked)."""
    latest = checkpoints.latest()
    if latest is not None:
        program.say(f"going on from step {latest}")
        return state.restore(checkpoints, latest, run.abstract_state), latest
    fresh = run.init()
    if config.train.init_from is None:
        return fresh, 0
    params, kept = warm_start.load(
        config.train.init_from,
        fresh.params,
        run.mesh,
        weights=config.train.init_weights,
        allow=config.train.init_allow,
    )
    program.say(
        f"starting from {config.train.init_from} ({config.train.init_weights})"
        + (f"; fresh: {', '.join(kept)}" if kept else "")
    )
    ema = jax.tree.map(jnp.copy, params)
    return state.TrainState(fresh.step, params, fresh.opt_state, ema), 0


def read_batches(run: Assembly, config: Config, first_step: int) -> Iterator[Batch]:
    """Global batches from that of step `first_step` + 1 on, without end."""
    size = config.train.batch_size
    rows = sharding.local_rows(run.mesh, size)
    loader = Loader(
        config.data.path,
        split="train",
        batch_size=size,
        seed=config.seed,
        rows=rows.tolist(),
        start_index=first_step * size,
        repeats=config.data.repeats,
        num_threads=config.data.num_threads,
        prefetch=config.data.prefetch,
    )
    return (sharding.to_global(run.mesh, rows, size, local) for local in loader)


def read_validation(
    run: Assembly, config: Config, manifest: Manifest
) -> tuple[list[hooks.WeightedBatch], int]:
    """(global batches, number of examples); none of a dataset without validation."""
    if "validation" not in manifest.splits:
        program.say("the dataset has no validation examples: no validation loss")
        return [], 0
    size = config.validation.batch_size
    sharding.check_batch(run.mesh, "validation.batch_size", size)
    rows = sharding.local_rows(run.mesh, size)
    examples = Validation(
        config.data.path,
        batch_size=size,
        rows=rows.tolist(),
        num_examples=config.validation.num_examples,
    )
    batches = []
    for number, (batch, weight) in enumerate(examples):
        local = (batch, weight, (number * size + rows).astype(np.int32))
        batches.append(sharding.to_global(run.mesh, rows, size, local))
    return batches, len(examples.positions)


def make_validation(
    run: Assembly,
    config: Config,
    validation: tuple[list[hooks.WeightedBatch], int],
    report: hooks.Report,
) -> hooks.Validate:
    batches, num_examples = validation
    return hooks.Validate(
        run.denoiser.bind,
        run.objective,
        batches,
        num_examples=num_examples,
        seed=config.seed,
        every_steps=config.validation.every_steps,
        num_steps=config.train.num_steps,
        report=report,
    )


def make_profiling(config: Config, workdir: str, first_step: int) -> list[Profile]:
    """The trace that --profile asks for, if it does."""
    text, num_steps = program.FLAGS.profile, config.train.num_steps
    if text is None:
        return []
    steps = profile.steps(text, workdir, first_step=first_step, num_steps=num_steps)
    return [Profile(workdir, *steps)]


def make_logger(
    run: Assembly,
    config: Config,
    workdir: str,
    batches: Waiting,
    train_step: Dispatching,
    first_step: int,
) -> metrics.Logger:
    return metrics.Logger(
        workdir,
        batches,
        train_step,
        first_step=first_step,
        num_steps=config.train.num_steps,
        every_steps=config.log.every_steps,
        tokens_per_step=run.tokens_per_step,
        flops_per_step=run.flops_per_step,
        peak=peak(run.mesh),
        tensorboard=config.log.tensorboard,
    )


def say_plan(run: Assembly, config: Config, workdir: str, manifest: Manifest) -> None:
    splits = ", ".join(f"{n} {name}" for name, n in manifest.splits.items())
    params = run.abstract_state.params
    placed = jax.tree.map(lambda leaf: leaf.sharding, params)
    program.say(
        f"training {config.model.preset} in {workdir}",
        f"  data      {config.data.path}: {splits} examples, latents "
        f"{'x'.join(map(str, manifest.latent_shape))} by {manifest.codec.name}, "
        f"{len(manifest.classes)} classes",
        f"  devices   {mesh.describe(run.mesh)}, computing in {config.model.dtype}",
        f"  steps     {config.train.num_steps} of {config.train.batch_size} examples, "
        f"{run.tokens_per_step} tokens, {run.flops_per_step / 1e9:.1f} GFLOP",
        "  parameter, shape, mesh axes, bytes on each chip:",
        *sharding.summary(params, placed),
    )


if __name__ == "__main__":
    program.run(main)
