"""Answers SIGTERM and SIGINT between two steps, on one process and on many."""

import os
import signal
from types import FrameType

import jax
from jax.experimental import multihost_utils


class StopRequest:
    """`requested(step)` is true on all processes at the same step.

    One process keeps its own flag. Many ask JAX's preemption service, which hears
    SIGTERM and agrees on a step; SIGINT is handed on to it as SIGTERM. A second signal
    of one process stops it at once.
    """

    def __init__(self) -> None:
        self.signalled = False
        self.is_alone = jax.process_count() == 1
        signal.signal(signal.SIGINT, self._hear if self.is_alone else self._hand_on)
        if self.is_alone:
            signal.signal(signal.SIGTERM, self._hear)

    def requested(self, step: int) -> bool:
        if self.is_alone:
            return self.signalled
        return multihost_utils.reached_preemption_sync_point(step)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.signalled:
            os._exit(128 + number)  # asked twice: at once, the newest save stands
        self.signalled = True

    def _hand_on(self, number: int, frame: FrameType | None) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
