r"""Other people's weights to a run folder, and a run's weights to their files.

    python -m dit_jax.convert --from dit --input DiT-XL-2-256x256.pt --workdir runs/dit
    python -m dit_jax.convert --to dit --workdir runs/dit --output dit.safetensors

Systems: dit, sit, vdt, latte, uvit, uvit_t2i. A file is .safetensors or torch's .pt
(read without torch, and without running anything of it). Sizes are read off the file;
--config.model.num_heads=N tells what it does not say. `sample` and `train` take the run
folder; frames need --codec=DIR, a codec that python -m dit_jax.fit_codec wrote.
"""

import math
from pathlib import Path
from typing import Any

import jax
from absl import flags

from dit_jax import checkpoints, codecs, files, program
from dit_jax import config as config_lib
from dit_jax.checkpoints import Checkpoints
from dit_jax.errors import UserError
from dit_jax.inference import run_folder
from dit_jax.parallel import mesh
from dit_jax.training import assembly, identity, state
from dit_jax.weights import conversions, state_dicts
from dit_jax.weights.design import Design

FLAGS = flags.FLAGS
CONFIG = Path(__file__).parents[1] / "configs" / "common.py"

flags.DEFINE_string("from", None, "The system whose weights --input holds.")
flags.DEFINE_string("to", None, "The system whose names --output shall have.")
flags.DEFINE_string("input", None, "Weight file, .safetensors or .pt.")
flags.DEFINE_string("codec", None, "Codec folder, to turn latents into frames.")
flags.DEFINE_float("fps", 8.0, "Frames a second of what is sampled.")
flags.DEFINE_enum(
    "weights", "ema", run_folder.WEIGHTS, "Which to write.", allow_override=True
)


def main(arguments: list[str]) -> None:
    program.refuse_words(arguments)
    source, target = FLAGS["from"].value, FLAGS["to"].value
    if (source is None) == (target is None):
        raise UserError("give one of --from SYSTEM (import) and --to SYSTEM (export)")
    workdir = files.absolute(program.require_flag("workdir"))
    if source is not None:
        import_weights(source, program.require_flag("input"), workdir)
    if target is not None:
        program.refuse_config()
        export_weights(target, workdir, program.require_flag("output"))


def import_weights(system: str, file: str, workdir: str) -> None:
    """A run folder at step 0 whose params and EMA are the weights of the file."""
    conversions.find(system, "--from")
    if not 0 < FLAGS.fps < math.inf:
        raise UserError(f"--fps is {FLAGS.fps}; give a number above 0")
    if config_lib.has_snapshot(workdir) or checkpoints.has_any(workdir):
        raise UserError(f"{workdir!r} already holds a run; choose another --workdir")
    config = program_config()
    design, params, nest = read(system, file, _given(config))
    codec = _codec(design)
    config = resolved(config, system, design)
    say_plan(system, file, nest, design, params, config)
    save(workdir, config, design, params)
    identity.write_converted(
        workdir,
        config,
        latent_shape=design.latent_shape,
        num_classes=design.num_classes,
        codec=codec,
        fps=FLAGS.fps,
        origin={"system": system, "file": file, "sha256": files.sha256(file)},
    )
    program.say(
        f"wrote {workdir}: checkpoints/0 (params and ema), config.json"
        + (", codec/" if codec else "; no codec, so sample writes latents")
    )


def read(system: str, file: str, given: dict[str, Any]) -> tuple[Design, Any, str]:
    """(design, our parameters, where in the file the weights lay)."""
    theirs, nest = state_dicts.read(file)
    design = conversions.read_design(system, theirs, given)
    return design, conversions.to_ours(system, design, theirs), nest


def program_config() -> config_lib.ConfigDict:
    """The config that the training settings come from, command line included."""
    return config_lib.load(FLAGS.config or str(CONFIG), program.overrides())


def _given(config: config_lib.ConfigDict) -> dict[str, Any]:
    """Values of `model.*` from the command line alone: a file's are its own model."""
    keys = [
        key.removeprefix("model.")
        for key in program.overrides()
        if key.startswith("model.")
    ]
    if "preset" in keys:
        raise UserError(
            "config.model.preset is given, but the weights say what they are; leave it "
            "out, and override single values of model.* where the file does not tell"
        )
    return {key: config.model[key] for key in keys if key != "dtype"}


def resolved(
    config: config_lib.ConfigDict, system: str, design: Design
) -> config_lib.ConfigDict:
    """`config` with the model of `design` and the diffusion it was trained with."""
    model = design.overrides | {"preset": design.preset, "dtype": config.model.dtype}
    diffusion = conversions.CONVERSIONS[system].diffusion
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.model = config_lib.ConfigDict(model)
        config.diffusion.update(diffusion)
    config.lock()
    said = {k: v for k, v in program.overrides().items() if k.startswith("diffusion.")}
    return assembly.resolve(config_lib.override(config, said))


def _codec(design: Design) -> codecs.Codec | None:
    if FLAGS.codec is None:
        return None
    codec, channels = codecs.load(FLAGS.codec), design.latent_shape[-1]
    if codec.spec.channels != channels:
        raise UserError(
            f"--codec {FLAGS.codec} makes {codec.spec.channels} channels, but the "
            f"weights are for latents of {channels}; fit one with codec.channels="
            f"{channels}"
        )
    return codec


def save(
    workdir: str, config: config_lib.ConfigDict, design: Design, params: Any
) -> None:
    """checkpoints/0: the weights twice, and the optimizer's state before any step."""
    channels = design.latent_shape[-1]
    facts = assembly.LatentFacts(
        design.latent_shape,
        design.num_classes,
        # what the data must be is checked when there are data
        flip_sign=(1,) * channels,
        text_shape=(config.model.text_length, config.model.text_dims),
    )
    # whatever mesh the run is trained on later, one device is enough to copy
    alone = mesh.build(jax.devices()[:1], data=1, fsdp=1, context=1, tensor=1)
    run = assembly.assemble(config, facts, alone)
    size = state.num_bytes(run.abstract_state)
    files.require_free_space(workdir, size, "the checkpoint")
    store = Checkpoints(workdir, keep=config.checkpoint.keep)
    params = jax.device_put(params, jax.devices()[0])
    # under jit the fresh weights beside it are never made
    opt_state = jax.jit(lambda: run.init().opt_state)()
    state.save(store, state.TrainState(0, params, opt_state, ema=params), 0)
    store.close()


def say_plan(
    system: str,
    file: str,
    nest: str,
    design: Design,
    params: Any,
    config: config_lib.ConfigDict,
) -> None:
    num_params = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
    values = design.values
    program.say(
        f"converting {system} from {file}" + (f", its {nest}" if nest else ""),
        f"  model     {design.preset}: {values['depth']} blocks of width "
        f"{values['width']}, {values['num_heads']} heads, {num_params} parameters",
        f"  latents   {'x'.join(map(str, design.latent_shape))}, "
        f"{design.num_classes} classes",
        f"  predicts  {config.diffusion.prediction} of {config.diffusion.process}",
    )
    caution = conversions.CONVERSIONS[system].caution
    if caution is not None:
        program.say(f"  mind      {caution}")


def export_weights(system: str, workdir: str, output: str) -> None:
    """One file under the names of another system, as it loads them strictly."""
    diffusion = conversions.find(system, "--to").diffusion
    alone = mesh.build(jax.devices()[:1], data=1, fsdp=1, context=1, tensor=1)
    run = run_folder.load(workdir, alone, weights=FLAGS.weights)
    for key in ("process", "prediction"):
        found, wanted = run.config.diffusion[key], diffusion[key]
        if found != wanted:
            raise UserError(
                f"the run has diffusion.{key}={found}, but {system} has {wanted}; such "
                "weights can only be used here"
            )
    design = conversions.of_config(
        config_lib.section(run.config, "model"),
        run.latent_shape,
        run.denoiser.num_classes,
    )
    theirs = conversions.to_theirs(system, design, jax.device_get(run.params))
    state_dicts.write(output, theirs)
    program.say(
        f"wrote {output}: {len(theirs)} arrays of {system}, the {run.weights} of "
        f"{workdir} at step {run.step}"
    )


if __name__ == "__main__":
    program.run(main)
