r"""Plan a training before a chip is rented: memory, traffic, time, days.

    python -m dit_jax.plan --config configs/joint.py:xl/1x2x2 --topology v5e:4x4 \
        --config.plan.latent_shape=16,32,32,4 [--json FILE] [--search] [--samples N]
    python -m dit_jax.plan --validate [--json FILE]

A topology is CHIP:AxB[xC], 2*v5e:16x16 for two slices, h100:8x8 for hosts x GPUs. Exit
code 0 when the training fits the memory of every device, 1 when it does not.
--validate holds the planner against six published runs instead.
"""

import sys

from absl import flags

from dit_jax import files, program
from dit_jax.parallel import topology as topology_lib
from dit_jax.planning import inputs, report
from dit_jax.planning import plan as plan_lib
from dit_jax.planning import search as search_lib
from dit_jax.planning.plan import Plan

FLAGS = flags.FLAGS

flags.DEFINE_string(
    "topology", None, "CHIP:AxB[xC], for example v5e:4x4, 2*v5e:16x16, h100:8x8."
)
flags.DEFINE_string("json", None, "File that the plan is written to.")
flags.DEFINE_bool("search", False, "Find the cheapest mesh and remat policy that fit.")
flags.DEFINE_bool("validate", False, "Hold the planner against published runs.")
flags.DEFINE_integer(
    "samples", None, "Examples of the budget; the config's steps when not given.", 1
)
NUM_SHOWN = 5


def main(arguments: list[str]) -> None:
    program.refuse_words(arguments)
    if FLAGS.validate:
        program.refuse_config()
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
    program.say(*report.lines(plan))
    finish(plan)


def finish(plan: Plan) -> None:
    """Writes the plan; exits 1 with the remedies when it does not fit."""
    if FLAGS.json is not None:
        files.write_json(FLAGS.json, plan.to_json())
        program.say(f"wrote {FLAGS.json}")
    if not plan.fits:
        program.say(report.remedy(plan, search_lib.remedies(plan)))
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
