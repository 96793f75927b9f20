"""Every file of configs/, shrunk, trains two steps."""

import importlib.util

import jax
import numpy as np
import pytest

from dit_jax import config
from dit_jax.parallel import mesh, sharding
from dit_jax.training import assembly
from dit_jax.types import Batch
from tests.training.conftest import BATCH, CLASSES, ROOT, SHAPE, SMALL

CONFIGS = sorted(
    path.stem for path in (ROOT / "configs").glob("*.py") if path.stem != "__init__"
)


@pytest.mark.parametrize("name", CONFIGS)
def test_it_trains_two_steps(name):
    loaded = config.load(str(ROOT / "configs" / f"{name}.py"), SMALL)
    resolved = assembly.resolve(loaded)
    devices = mesh.build(jax.devices()[:2], **resolved.mesh)
    facts = assembly.LatentFacts(SHAPE, CLASSES)
    run = assembly.assemble(resolved, facts, devices)
    draw = np.random.default_rng(0)
    local = Batch(
        latents=draw.normal(size=(BATCH, *SHAPE)).astype(np.float32),
        example_id=np.arange(BATCH),
        label=draw.integers(0, CLASSES, BATCH).astype(np.int32),
    )
    rows = sharding.local_rows(devices, BATCH)
    batch = sharding.to_global(devices, rows, BATCH, local)
    state = run.init()
    before = jax.device_get(state.params)
    for _ in range(2):
        state, metrics = run.train_step(state, batch)
    assert np.isfinite(float(metrics["loss"]))
    assert int(state.step) == 2
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), before, state.params)
    assert moved["head"]["out"]["kernel"]  # zero at first: the gradient arrived


@pytest.mark.parametrize("name", CONFIGS)
def test_it_states_its_command(name):
    file = ROOT / "configs" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert name == "common" or "python -m" in module.__doc__ or "make" in module.__doc__
