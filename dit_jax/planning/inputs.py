"""A config becomes what a plan is made of: the one place here that reads sections."""

import copy

from ml_collections import ConfigDict as Config

from dit_jax import config as config_lib
from dit_jax.data import manifest
from dit_jax.errors import UserError
from dit_jax.inference import denoiser
from dit_jax.models.attention import ATTENTIONS
from dit_jax.parallel.topology import Topology
from dit_jax.planning import workload
from dit_jax.planning.layout import Layout, fill
from dit_jax.planning.training import Training
from dit_jax.planning.workload import Workload


def resolve(config: Config) -> Config:
    """A locked copy whose `model.*` is filled by the preset. dtype "auto" is that of
    accelerators, whatever machine the plan is made on."""
    config = copy.deepcopy(config)
    with config.unlocked():
        if config.model.dtype == "auto":
            config.model.dtype = "bfloat16"
        config.model = Config(denoiser.resolve(config_lib.section(config, "model")))
    return config.lock()


def read(config: Config, topology: Topology) -> tuple[Workload, Training, Layout]:
    """Of a resolved config. Nothing is allocated."""
    latent_shape, num_classes = facts(config)
    _check(config, topology)
    return (
        workload.of_config(config, latent_shape, num_classes),
        _training(config),
        fill(config_lib.section(config, "mesh"), topology),
    )


def _check(config: Config, topology: Topology) -> None:
    """UserError for what this machine would not run."""
    wanted = config.mesh.devices
    if wanted not in (None, topology.num_devices):
        raise UserError(
            f"mesh.devices is {wanted}, but {topology.name} has "
            f"{topology.num_devices} devices; change mesh.devices or --topology"
        )
    form = ATTENTIONS[config.model.attention]
    form.require(topology.chip.platform, topology.chip.name)


def facts(config: Config) -> tuple[tuple[int, int, int, int], int]:
    """(latent shape, classes) of the dataset, or as `plan.*` says where there is none.

    Text has the shape that the model reads, see `model.text_length`."""
    if config.data.path is not None:
        found = manifest.read(config.data.path)
        return found.latent_shape, len(found.classes)
    shape = config.plan.latent_shape
    if shape is None:
        raise UserError(
            "neither data.path nor plan.latent_shape is set; give "
            "--config.plan.latent_shape=T,H,W,C, the latents of one clip, for example "
            "16,32,32,4"
        )
    numbers = tuple(shape)
    if len(numbers) != 4 or not all(type(n) is int and n > 0 for n in numbers):
        raise UserError(
            f"plan.latent_shape is {numbers}; give four whole numbers T,H,W,C of at "
            "least 1"
        )
    if config.plan.num_classes < 0:
        raise UserError(
            f"plan.num_classes is {config.plan.num_classes}; give 0 or more"
        )
    t, h, w, c = numbers
    return (t, h, w, c), config.plan.num_classes


def _training(config: Config) -> Training:
    if config.train.num_steps < 1:
        raise UserError(f"train.num_steps is {config.train.num_steps}; give at least 1")
    return Training(
        batch_size=config.train.batch_size,
        num_steps=config.train.num_steps,
        microbatches=config.train.microbatches,
        remat=config.model.remat,
        attention=config.model.attention,
        dtype=config.model.dtype,
        optimizer=config.optimizer.name,
    )
