r"""Plan a training before a chip is rented: memory, traffic, time, days.

    python -m dit_jax.plan --config configs/joint.py:xl/1x2x2 --topology v5e:4x4 \
        --config.plan.latent_shape=16,32,32,4 [--json FILE] [--search] [--compile]
    python -m dit_jax.plan --validate [--json FILE]

A topology is CHIP:AxB[xC], 2*v5e:16x16 for two slices, h100:8x8 for hosts x GPUs. Exit
code 0 when the training fits the memory of every device, 1 when it does not.
--compile compiles the real train step for the topology (needs `make venv-tpu` or `make
venv-gpu`, and neither TPU nor GPU) and shows what the compiler found beside what was
predicted. --validate holds the planner against six published runs instead.
"""

import copy
import sys
from typing import Any

from absl import flags
from ml_collections import ConfigDict as Config

from dit_jax import files, program
from dit_jax.errors import UserError
from dit_jax.parallel import mesh as mesh_lib
from dit_jax.parallel import topology as topology_lib
from dit_jax.planning import comparison, inputs, report
from dit_jax.planning import plan as plan_lib
from dit_jax.planning import search as search_lib
from dit_jax.planning.comparison import Comparison
from dit_jax.planning.compilation import Compiled, OutOfMemory, compile_step
from dit_jax.planning.plan import Plan
from dit_jax.training import assembly

FLAGS = flags.FLAGS

flags.DEFINE_string(
    "topology", None, "CHIP:AxB[xC], for example v5e:4x4, 2*v5e:16x16, h100:8x8."
)
flags.DEFINE_string("json", None, "File that the plan is written to.")
flags.DEFINE_bool("search", False, "Find the cheapest mesh and remat policy that fit.")
flags.DEFINE_bool("compile", False, "Compile the train step for the topology.")
flags.DEFINE_bool("validate", False, "Hold the planner against published runs.")
flags.DEFINE_integer(
    "samples", None, "Examples of the budget; the config's steps when not given.", 1
)
NUM_SHOWN = 5


def main(arguments: list[str]) -> None:
    program.refuse_words(arguments)
    check_flags()
    if FLAGS.validate:
        validate()
        return
    topology = topology_lib.parse(program.require_flag("topology"))
    config = inputs.resolve(program.config())
    workload, training, layout = inputs.read(config, topology)
    if FLAGS.search:
        found = search_lib.search(workload, training, topology)
        program.say(*report.ranking(found[:NUM_SHOWN], len(found)))
        if found:
            training, layout = found[0].training, found[0].layout
    plan = plan_lib.make(workload, training, layout, topology, FLAGS.samples)
    if not FLAGS.compile:
        program.say(*report.lines(plan))
        finish(plan, plan.to_json(), plan.memory.total, plan.memory.capacity)
        return
    try:
        both = Comparison(plan, compiled(config, plan))
    except OutOfMemory as error:
        program.say(*report.lines(plan))
        refused = {"needed_bytes": error.needed, "available_bytes": error.available}
        finish(
            plan, plan.to_json() | {"compiled": refused}, error.needed, error.available
        )
        return
    program.say(*report.lines(plan, both.figures()), *comparison.lines(both))
    value = plan.to_json() | {"compiled": both.to_json()}
    finish(plan, value, both.compiled.peak, plan.memory.capacity)


def check_flags() -> None:
    """Refuses what would be ignored, and a file that cannot be written at the end."""
    if FLAGS.validate:
        program.refuse_config()
        for name in ("topology", "search", "compile"):
            if FLAGS[name].present:
                raise UserError(f"--{name} means nothing to --validate; leave it out")
    if FLAGS.json is not None:
        file = files.path(FLAGS.json)
        if file.is_dir() or not file.parent.is_dir():
            raise UserError(
                f"--json is {FLAGS.json!r}, which is not a file in a folder that is "
                "there; give a file name"
            )


def compiled(config: Config, plan: Plan) -> Compiled:
    """The train step of a config with the mesh and remat policy of a plan."""
    latent_shape, num_classes = inputs.facts(config)
    config = copy.deepcopy(config)
    with config.unlocked():
        config.model.remat = plan.training.remat
        config.mesh.update(plan.layout.settings)
    devices = topology_lib.devices(plan.topology)
    mesh = mesh_lib.build(devices, **config.mesh)
    text_shape = (config.model.text_length, config.model.text_dims)
    facts = assembly.LatentFacts(
        latent_shape,
        num_classes,
        flip_sign=(1,) * latent_shape[-1],
        text_shape=text_shape,
    )
    run = assembly.assemble(config, facts, mesh)
    program.say(f"compiling for {mesh_lib.describe(mesh)}: a minute or more")
    return compile_step(run.train_step, run.abstract_state, run.abstract_batch, mesh)


def finish(plan: Plan, value: dict[str, Any], used: float, room: float) -> None:
    """Writes the plan; exits 1 with the remedies when it does not fit.

    used, room: bytes of a device, the compiler's where it was asked.
    """
    fits = used <= room
    program.say(report.verdict(used, room))
    if FLAGS.json is not None:
        files.write_json(FLAGS.json, value | {"fits": fits})
        program.say(f"wrote {FLAGS.json}")
    if not fits:
        limit = plan.memory.total * room / used  # by the plan's own count
        program.say(report.remedy(plan, search_lib.remedies(plan, limit=limit)))
        sys.exit(1)


def validate() -> None:
    from dit_jax.planning import published

    found = published.validate()
    program.say(*published.lines(found))
    if FLAGS.json is not None:
        files.write_json(FLAGS.json, published.to_json(found))
        program.say(f"wrote {FLAGS.json}")


if __name__ == "__main__":
    program.run(main)
