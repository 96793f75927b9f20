"""How far something long is, for whoever waits."""

import sys
import time

from dit_jax import program


class Progress:
    """A line with an ETA: rewritten on a terminal, every quarter elsewhere.

    unit: what is counted, such as "clips".
    """

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self.start = time.monotonic()
        self.what, self.done = "", 0

    def __call__(self, what: str, done: int, total: int) -> None:
        if (what, done) == (self.what, self.done):
            return  # asked again at the same place
        if what != self.what or done < self.done:
            self.what, self.start = what, time.monotonic()
        self.done = done
        left_s = (time.monotonic() - self.start) / done * (total - done)
        text = f"{what}: {done}/{total} {self.unit}, {left_s:.0f} s left"
        if sys.stdout.isatty():
            print(f"\r{text}  ", end="\n" if done == total else "", flush=True)
        elif done * 4 // total > (done - 1) * 4 // total:
            program.say(text)
