"""A small training without files: random latents, perturbed weights."""

from pathlib import Path

import jax
import numpy as np
import pytest

from dit_jax import config
from dit_jax.parallel import mesh, sharding
from dit_jax.training import assembly
from dit_jax.training.state import TrainState
from dit_jax.types import Batch

ROOT = Path(__file__).parents[2]
BATCH = 16
SHAPE = (4, 8, 8, 8)
CLASSES = 5
TEXT = (3, 12)  # tokens, dims
HASTE = {  # compiles six times as fast; what comes out is slow
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_use_fusion_emitters": False,
}
SMALL = {
    "model.width": "64",
    "model.depth": "2",
    "model.num_heads": "4",
    "train.batch_size": str(BATCH),
    "train.num_steps": "40",
    "optimizer.learning_rate": "1e-3",
    "optimizer.warmup_steps": "2",
    "optimizer.ema_decay": "0.9",
    "validation.batch_size": "16",
}


class Training:
    """Steps of a small model on a mesh of the first `prod(sizes)` devices.

    spec: a config file and its argument, as after `--config=configs/`. in_haste: spend
    little on compiling, for programs that run once or twice.
    """

    def __init__(
        self,
        sizes: dict[str, int],
        spec: str = "joint.py:s/1x2x2",
        shape: tuple[int, int, int, int] = SHAPE,
        in_haste: bool = False,
        **overrides: str,
    ):
        values = SMALL | {key.replace("__", "."): v for key, v in overrides.items()}
        self.config = assembly.resolve(config.load(f"{ROOT}/configs/{spec}", values))
        self.shape, self.in_haste = shape, in_haste
        sizes = {"data": 1, "fsdp": 1, "context": 1, "tensor": 1} | sizes
        devices = jax.devices()[: int(np.prod(list(sizes.values())))]
        self.mesh = mesh.build(devices, **sizes)
        signs = tuple((-1) ** channel for channel in range(shape[-1]))
        text = (self.config.model.text_length, self.config.model.text_dims)
        facts = assembly.LatentFacts(shape, CLASSES, flip_sign=signs, text_shape=text)
        self.run = assembly.assemble(self.config, facts, self.mesh)

    def batch(self, step: int) -> Batch:
        """Random latents, labels and texts; the text of some rows is empty."""
        size, (length, dims) = self.config.train.batch_size, TEXT
        draw = np.random.default_rng(step)
        local = Batch(
            latents=draw.normal(size=(size, *self.shape)).astype(np.float32),
            example_id=np.arange(size),
            label=draw.integers(0, CLASSES, size).astype(np.int32),
            text=draw.normal(size=(size, length, dims)).astype(np.float32),
            text_mask=(np.arange(length) < draw.integers(0, 4, (size, 1))).astype("i4"),
            pooled=draw.normal(size=(size, dims)).astype(np.float32),
        )
        rows = sharding.local_rows(self.mesh, size)
        return sharding.to_global(self.mesh, rows, size, local)

    def start(self) -> TrainState:
        """The first state, on the host, with every weight moved off its zero."""
        return perturbed(self._ready(self.run.init)())

    def place(self, state: TrainState) -> TrainState:
        """A state of the host, on this mesh."""
        return jax.tree.map(
            lambda leaf, like: jax.device_put(leaf, like.sharding),
            state,
            self.run.abstract_state,
        )

    def state(self) -> TrainState:
        return self.place(self.start())

    def losses(self, num_steps: int, start: TrainState | None = None) -> np.ndarray:
        return self.train(num_steps, start)[1]

    def train(
        self, num_steps: int, start: TrainState | None = None
    ) -> tuple[TrainState, np.ndarray]:
        """The last state and all losses, from `start` or from `start()`."""
        state = self.state() if start is None else self.place(start)
        losses = []
        train_step = self._ready(self.run.train_step, state, self.batch(0))
        for step in range(num_steps):
            state, metrics = train_step(state, self.batch(step))
            losses.append(float(metrics["loss"]))
        return state, np.array(losses)

    def _ready(self, jitted, *arguments):
        if not self.in_haste:
            return jitted
        return jitted.lower(*arguments).compile(compiler_options=HASTE)


def perturbed(state: TrainState) -> TrainState:
    """On the host, normal noise of 0.05 added to every parameter, by its place."""
    state = jax.device_get(state)
    leaves, structure = jax.tree.flatten(state.params)
    moved = [
        leaf + np.random.default_rng(i).normal(0, 0.05, leaf.shape).astype(np.float32)
        for i, leaf in enumerate(leaves)
    ]
    params = structure.unflatten(moved)
    ema = jax.tree.map(np.copy, params)
    return TrainState(state.step, params, state.opt_state, ema)


@pytest.fixture(scope="session")
def make_training():
    return Training
