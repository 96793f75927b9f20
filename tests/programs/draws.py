"""Writes what three steps of a training see: ids, latents, labels, noise, times.

A script and not a test: run on one process and on several, its files must be equal.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dit_jax import config as config_lib
from dit_jax import program, train
from dit_jax.data import manifest as manifest_lib
from dit_jax.parallel import hosts, mesh, sharding
from dit_jax.training import assembly
from tests.programs.harness import ROOT, TRAIN

STEPS = 3


def main(arguments: list[str]) -> None:
    values = {key: str(value) for key, value in TRAIN.items()} | program.overrides()
    config = config_lib.load(str(ROOT / "configs/common.py"), values)
    config = assembly.resolve(config)
    manifest = manifest_lib.read(config.data.path)
    devices = mesh.build(**config.mesh)
    run = assembly.assemble(config, train.latent_facts(manifest), devices)
    whole = sharding.replicated(devices)

    @jax.jit
    def draw(batch, step):
        drawn = run.objective.train_draws(batch, config.seed, step)
        seen = {
            "example_id": batch.example_id,
            "x0": drawn.x0,
            "label": drawn.conditioning.label,
            "eps": drawn.eps,
            "t": drawn.t,
        }
        return jax.lax.with_sharding_constraint(seen, whole)

    batches = train.read_batches(run, config, first_step=0)
    found = [
        jax.device_get(draw(next(batches), jnp.int32(step))) for step in range(STEPS)
    ]
    if hosts.is_first():
        stacked = {name: np.stack([f[name] for f in found]) for name in found[0]}
        np.savez(program.require_flag("output"), **stacked)
    hosts.wait("written")


if __name__ == "__main__":
    program.run(main)
