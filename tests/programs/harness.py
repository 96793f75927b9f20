"""Runs programs as users do, in their own process, on small settings."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

ROOT = Path(__file__).parents[2]
PREPARE = {
    "prepare.num_frames": 8,
    "prepare.height": 32,
    "prepare.width": 32,
    "prepare.hop": 1,
    "prepare.validation": 0.25,
    "codec.channels": 16,
}
TRAIN = {
    "model.preset": "joint-tiny/1x2x2",
    "model.width": 32,
    "model.depth": 2,
    "model.num_heads": 2,
    "model.remat": "none",
    "optimizer.warmup_steps": 4,
    "optimizer.learning_rate": 1e-3,
    "optimizer.ema_decay": 0.9,
    "train.num_steps": 40,
    "train.batch_size": 4,
    "checkpoint.every_steps": 20,
    "log.every_steps": 1,
    "log.tensorboard": False,
    "validation.every_steps": 20,
    "validation.num_examples": 6,
    "validation.batch_size": 4,
    "mesh.data": -1,
    "mesh.fsdp": 1,
}


def overrides(values: dict[str, object]) -> list[str]:
    return [f"--config.{key}={value}" for key, value in values.items()]


def environment(num_devices: int) -> dict[str, str]:
    return os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(num_devices),
        "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
        "PYTHONPATH": str(ROOT),
    }


def run(
    command: Sequence[object], *, num_devices: int = 1, cwd: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """`dit_jax.<verb> --flags` or a script, with its output captured."""
    head = [sys.executable]
    if not str(command[0]).endswith(".py"):
        head += ["-m", f"dit_jax.{command[0]}"]
        command = command[1:]
    return subprocess.run(
        [*head, *map(str, command)],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment(num_devices),
        cwd=cwd,
        check=False,
    )


def train_flags(data: Path, workdir: Path, **changes: object) -> list[object]:
    values = TRAIN | {key.replace("__", "."): v for key, v in changes.items()}
    return [
        "--config=configs/common.py",
        f"--workdir={workdir}",
        f"--config.data.path={data}",
        *overrides(values),
    ]


def stripes(i: int) -> np.ndarray:
    wave = 127 + 100 * np.sin((np.arange(32) - i) / 3)
    return np.broadcast_to(wave[None, :, None], (32, 32, 3)).astype(np.uint8)


def square(i: int) -> np.ndarray:
    frame = np.full((32, 32, 3), 40, np.uint8)
    size = 4 + i // 4
    frame[8 : 8 + size, 8 : 8 + size] = (220, 160, 30)
    return frame
