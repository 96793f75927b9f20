"""A small training without files: random latents, perturbed weights."""

from pathlib import Path

import jax
import numpy as np
import pytest

from dit_jax import config
from dit_jax.parallel import mesh, sharding
from dit_jax.training import assembly
from dit_jax.types import Batch

ROOT = Path(__file__).parents[2]
BATCH = 16
SHAPE = (4, 8, 8, 8)
CLASSES = 5
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
    """Steps of a small model on a mesh of the first `prod(sizes)` devices."""

    def __init__(self, sizes: dict[str, int], **overrides: str):
        values = SMALL | {key.replace("__", "."): v for key, v in overrides.items()}
        loaded = config.load(str(ROOT / "configs/joint.py") + ":s/1x2x2", values)
        sizes = {"data": 1, "fsdp": 1, "context": 1, "tensor": 1} | sizes
        devices = jax.devices()[: int(np.prod(list(sizes.values())))]
        self.mesh = mesh.build(devices, **sizes)
        self.run = assembly.assemble(
            assembly.resolve(loaded),
            assembly.LatentFacts(SHAPE, CLASSES),
            self.mesh,
        )

    def batch(self, step: int) -> Batch:
        draw = np.random.default_rng(step)
        local = Batch(
            latents=draw.normal(size=(BATCH, *SHAPE)).astype(np.float32),
            example_id=np.arange(BATCH),
            label=draw.integers(0, CLASSES, BATCH).astype(np.int32),
        )
        rows = sharding.local_rows(self.mesh, BATCH)
        return sharding.to_global(self.mesh, rows, BATCH, local)

    def state(self):
        """The first state, with every weight moved off its zero."""
        state = self.run.init()
        params = jax.jit(perturb, out_shardings=_shardings(state.params))(state.params)
        ema = jax.tree.map(lambda leaf: leaf + 0, params)
        return type(state)(state.step, params, state.opt_state, ema)

    def losses(self, num_steps: int) -> np.ndarray:
        state, losses = self.state(), []
        for step in range(num_steps):
            state, metrics = self.run.train_step(state, self.batch(step))
            losses.append(float(metrics["loss"]))
        return np.array(losses)


def perturb(params):
    """Adds normal noise of 0.05 to every parameter, by its place in the tree."""
    leaves, structure = jax.tree.flatten(params)
    moved = [
        leaf + 0.05 * jax.random.normal(jax.random.key(i), leaf.shape)
        for i, leaf in enumerate(leaves)
    ]
    return jax.tree.unflatten(structure, moved)


def _shardings(tree):
    return jax.tree.map(lambda leaf: leaf.sharding, tree)


@pytest.fixture(scope="session")
def make_training():
    return Training
