"""The log of a run: metrics.jsonl, TensorBoard, and a progress line with an ETA."""

import json
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from tensorboardX import SummaryWriter

from dit_jax import files
from dit_jax.training.hooks import require_finite
from dit_jax.training.state import TrainState
from dit_jax.training.step import Metrics
from dit_jax.training.throughput import Dispatching, Waiting, shares

FILE = "metrics.jsonl"


class Logger:
    """Averages over the steps since the last line; fetches only when it writes.

    tokens_per_step and flops_per_step count what the model must do: 3 x forward, no
    recomputation. `peak` is what MFU divides by.
    """

    def __init__(
        self,
        workdir: files.PathLike,
        waiting: Waiting,
        dispatching: Dispatching,
        *,
        first_step: int,
        num_steps: int,
        every_steps: int,
        tokens_per_step: int,
        flops_per_step: float,
        peak: tuple[float, str],
        tensorboard: bool,
    ):
        self.waiting, self.dispatching = waiting, dispatching
        self.num_steps = num_steps
        self.every_steps = every_steps
        self.tokens_per_step = tokens_per_step
        self.flops_per_step = flops_per_step
        self.peak = peak
        self.pending: list[Metrics] = []
        self.step = first_step
        self.reported: dict[str, float] = {}
        self.is_writer = jax.process_index() == 0
        self.lines = JsonLines(files.path(workdir) / FILE, first_step, self.is_writer)
        self.tensorboard = (
            SummaryWriter(os.fspath(workdir), purge_step=first_step + 1)
            if tensorboard and self.is_writer and files.is_local(workdir)
            else None
        )
        self.mark: float | None = None
        self.mark_wait = waiting.seconds
        self.mark_dispatch = dispatching.seconds

    def report(self, step: int, values: dict[str, float]) -> None:
        """Values of another hook, written with the line of this step."""
        self.reported |= values

    def __call__(self, step: int, state: TrainState, metrics: Metrics) -> None:
        self.pending.append(metrics)
        self.step = step
        if step % self.every_steps == 0 or step == self.num_steps or self.reported:
            self.write(step)

    def write(self, step: int) -> None:
        values: dict[str, Any] = {"step": step} | summarise(
            jax.device_get(self.pending)
        )
        values |= self._speed(len(self.pending)) | self.reported
        self.pending, self.reported = [], {}
        require_finite(step, values["loss"])
        self.lines.write(values)
        if self.tensorboard is not None:
            for name, value in values.items():
                if isinstance(value, float):
                    self.tensorboard.add_scalar(name, value, step)
        if self.is_writer:
            self._show(values)

    def _speed(self, num_steps: int) -> dict[str, float | str]:
        """Rates since the last line; the first line holds compilation and has none."""
        now, waited = time.perf_counter(), self.waiting.seconds
        then, self.mark = self.mark, now
        wait, self.mark_wait = waited - self.mark_wait, waited
        called = self.dispatching.seconds
        dispatch, self.mark_dispatch = called - self.mark_dispatch, called
        if then is None:
            return {}
        seconds = now - then
        rate = num_steps / seconds
        rates: dict[str, float | str] = {
            "steps_per_s": rate,
            "tokens_per_s": rate * self.tokens_per_step,
            "model_flops_per_s": rate * self.flops_per_step,
            "mfu": rate * self.flops_per_step / self.peak[0],
            "mfu_denominator": self.peak[1],
        }
        return rates | shares(seconds, wait, dispatch)

    def _show(self, values: dict) -> None:
        step = values["step"]
        text = f"step {step}/{self.num_steps}  loss {values['loss']:.4f}"
        if "validation_loss" in values:
            text += f"  validation {values['validation_loss']:.4f}"
        if "steps_per_s" in values:
            left = (self.num_steps - step) / values["steps_per_s"]
            text += (
                f"  {values['steps_per_s']:.2f} steps/s  MFU {values['mfu']:.0%}"
                f"  waiting for data {values['data_wait_share']:.0%}"
                f"  ETA {clock(left)}"
            )
        is_line_kept = not sys.stdout.isatty() or "validation_loss" in values
        is_last = step == self.num_steps
        end = "\n" if is_line_kept or is_last else "\r"
        print(f"{text:<110}" if end == "\r" else text, end=end, flush=True)

    def close(self) -> None:
        """Writes what a stop left between two lines."""
        if self.pending:
            self.write(self.step)
        if self.tensorboard is not None:
            self.tensorboard.close()


def summarise(metrics: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Means over steps; the bucketed loss is a mean over examples."""
    buckets = np.asarray([m["bucket"] for m in metrics], np.float64).sum(axis=0)
    values = {
        name: float(np.mean([m[name] for m in metrics], dtype=np.float64))
        for name in ("loss", "grad_norm")
    }
    values["learning_rate"] = float(metrics[-1]["learning_rate"])
    edges = np.linspace(0, 1, len(buckets) + 1)
    for (total, count), low, high in zip(buckets, edges[:-1], edges[1:], strict=True):
        if count:
            values[f"loss_t_{low:.2f}_{high:.2f}"] = float(total / count)
    return values


class JsonLines:
    """One JSON object a line; a resumed run drops the lines after its first step."""

    def __init__(self, path: files.PathLike, first_step: int, is_writer: bool):
        self.path = files.path(path)
        self.kept: list[str] = []
        self.is_writer = is_writer
        if not is_writer:
            return
        if self.path.exists():
            lines = self.path.read_text().splitlines()
            self.kept = [line for line in lines if _step(line) <= first_step]
        files.write_bytes(self.path, "".join(f"{x}\n" for x in self.kept).encode())

    def write(self, values: dict) -> None:
        if not self.is_writer:
            return
        line = json.dumps(values)
        if files.is_local(self.path):
            files.append_line(self.path, line)
        else:  # object stores have no append
            self.kept.append(line)
            files.write_bytes(self.path, "".join(f"{x}\n" for x in self.kept).encode())


def _step(line: str) -> int | float:
    try:
        return json.loads(line)["step"]
    except (json.JSONDecodeError, KeyError, TypeError):
        return math.inf  # cut by a kill


def clock(seconds: int | float) -> str:
    """`1:02:03` or `2:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
