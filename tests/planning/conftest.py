"""A model that is small enough to reason about, and how to plan it."""

import dataclasses

import pytest

from dit_jax.parallel import topology
from dit_jax.planning import plan as plan_lib
from dit_jax.planning import workload
from dit_jax.planning.layout import Layout
from dit_jax.planning.training import Training

SIZES = {"depth": 12, "width": 1024, "num_heads": 16, "tokens": 4096, "hidden": 4096}


@pytest.fixture(scope="session")
def model():
    return workload.transformer("model", **SIZES)


@pytest.fixture(scope="session")
def make(model):
    """`(topology, sizes of the mesh and settings of the training) -> a plan`."""

    def make(name="v5e:16x16", model=model, **settings):
        machine = topology.parse(name)
        fields = {field.name for field in dataclasses.fields(Layout)}
        sizes = {key: settings.pop(key) for key in fields & settings.keys()}
        layout = Layout(**sizes) if sizes else Layout(fsdp=machine.num_devices)
        training = Training(**{"batch_size": 256, "num_steps": 1000, **settings})
        return plan_lib.make(model, training, layout, machine)

    return make
