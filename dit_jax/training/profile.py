"""A trace of some steps, for xprof and Perfetto, by every process for itself."""

import os

import jax

from dit_jax import files
from dit_jax.errors import UserError
from dit_jax.training.state import TrainState
from dit_jax.training.step import Metrics

FOLDER = "profile"


class Profile:
    """A hook, to be the last: it traces what happens from `start` completed steps to
    `stop`, the hooks in between included.

    Processes do not wait for each other here, so that no trace shows a wait that a
    training without one would not have.
    """

    def __init__(self, workdir: files.PathLike, start: int, stop: int):
        name = f"process_{jax.process_index()}"  # two may have one host
        self.folder = os.path.join(workdir, FOLDER, name)
        self.start, self.stop = start, stop
        self.is_tracing = False

    def __call__(self, step: int, state: TrainState, metrics: Metrics) -> None:
        if step == self.start:
            jax.block_until_ready(metrics)  # the steps before are not in the trace
            jax.profiler.start_trace(
                self.folder, create_perfetto_trace=True, profiler_options=_options()
            )
            self.is_tracing = True
        elif step == self.stop:
            jax.block_until_ready(metrics)
            self.close()

    def close(self) -> None:
        """Writes what a stop left between the two."""
        if self.is_tracing:
            self.is_tracing = False
            jax.profiler.stop_trace()


def _options() -> jax.profiler.ProfileOptions:
    """Without the calls of Python, which are so many in one compilation that a trace
    leaves out what comes after them."""
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0
    return options


def steps(
    text: str, workdir: files.PathLike, *, first_step: int, num_steps: int
) -> tuple[int, int]:
    """The two numbers of START:STOP; UserError unless this start has those steps."""
    if not files.is_local(workdir):
        raise UserError(
            f"--profile writes to local folders only, and {workdir} is none; profile "
            "a run in a local --workdir"
        )
    start, colon, stop = text.partition(":")
    is_range = colon and start.isdecimal() and stop.isdecimal()
    if not is_range or not int(start) < int(stop):
        raise UserError(
            f"--profile is {text!r}; give START:STOP in completed steps, such as 10:13 "
            "for steps 11, 12 and 13"
        )
    if int(start) < first_step or int(stop) > num_steps:
        raise UserError(
            f"--profile={text} is not within the steps {first_step} to {num_steps} of "
            f"this start; give START:STOP from {first_step} to {num_steps}"
        )
    return int(start), int(stop)
