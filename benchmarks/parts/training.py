"""The train step that `train` runs, on made-up latents.

`make` and `assemble` are of DiT's own training (configs/dit_imagenet256.py) on single
256 px images: AdamW at a constant rate, EMA, a tenth of the labels dropped, the squared
error of the noise.
"""

import dataclasses
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from configs import dit_imagenet256
from dit_jax.parallel import mesh, sharding
from dit_jax.training import assembly
from dit_jax.training.assembly import Assembly
from dit_jax.training.state import TrainState
from dit_jax.types import Batch

LATENTS = (1, 32, 32, 4)  # frames, height, width, channels of 256 px by the usual codec
CLASSES = 1000


@dataclasses.dataclass
class Training:
    """`step()` waits for its result."""

    run: Assembly
    state: TrainState
    batch: Batch

    def step(self) -> None:
        self.state, _ = self.run.train_step(self.state, self.batch)
        jax.block_until_ready(self.state)


def make(
    size: str,
    *,
    batch_size: int,
    latents: tuple[int, int, int, int] = LATENTS,
    **model: Any,
) -> Training:
    """A training of `dit-<size>` on the first device. model: values of `model.*`."""
    return start(assemble(size, batch_size=batch_size, latents=latents, **model))


def start(run: Assembly) -> Training:
    """The first state and one batch of normal latents."""
    shape = run.abstract_batch.latents.shape
    rng = np.random.default_rng(0)
    local = Batch(
        latents=rng.normal(size=shape).astype(np.float32),
        example_id=np.arange(shape[0], dtype=np.int32),
        label=rng.integers(0, CLASSES, shape[0]).astype(np.int32),
    )
    rows = sharding.local_rows(run.mesh, shape[0])
    return Training(
        run, run.init(), sharding.to_global(run.mesh, rows, shape[0], local)
    )


def assemble(
    size: str,
    *,
    batch_size: int,
    latents: tuple[int, int, int, int] = LATENTS,
    **model: Any,
) -> Assembly:
    """The parts of `make`; allocates nothing."""
    config = dit_imagenet256.get_config(size)
    config.data.flip = False
    config.train.batch_size = batch_size
    config.model.update(model)
    return on_one_device(config, latents)


def on_one_device(config: ConfigDict, latents: tuple[int, int, int, int]) -> Assembly:
    """The parts of a training with labels on the first device."""
    config.mesh.update(data=1, fsdp=1, context=1, tensor=1)
    facts = assembly.LatentFacts(latents, CLASSES)
    one = mesh.build(jax.devices()[:1], **config.mesh)
    return assembly.assemble(assembly.resolve(config), facts, one)
