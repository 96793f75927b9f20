"""The real train step, compiled for a TPU slice that is not here."""

import jax
import jax.numpy as jnp
import pytest

from dit_jax import config
from dit_jax.parallel import mesh, sharding, topology
from dit_jax.training import assembly
from dit_jax.types import Batch
from tests.training.conftest import ROOT

HBM_BYTES = 16e9  # of one v5e chip


@pytest.mark.tpu
def test_joint_xl_compiles_and_fits_on_v5e_4x4(capsys):
    settings = config.load(
        str(ROOT / "configs/joint.py") + ":xl/1x2x2", {"model.dtype": "bfloat16"}
    )
    settings = assembly.resolve(settings)
    slice_mesh = mesh.build(topology.devices("v5e:4x4"), **settings.mesh)
    facts = assembly.LatentFacts((16, 32, 32, 4), num_classes=1000)
    run = assembly.assemble(settings, facts, slice_mesh)
    size = settings.train.batch_size
    rows = sharding.batch_sharding(slice_mesh)

    def of(shape, dtype):
        return jax.ShapeDtypeStruct((size, *shape), dtype, sharding=rows)

    batch = Batch(
        latents=of(facts.latent_shape, jnp.float32),
        example_id=of((), jnp.int32),
        label=of((), jnp.int32),
    )
    compiled = run.train_step.lower(run.abstract_state, batch).compile()
    memory = compiled.memory_analysis()
    state_bytes = 16 * sum(
        leaf.size for leaf in jax.tree.leaves(run.abstract_state.params)
    )
    with capsys.disabled():
        print(
            f"\njoint-xl/1x2x2, 16x32x32 latents, batch {size}, v5e:4x4, compiled: "
            f"peak {memory.peak_memory_in_bytes / 1e9:.2f} GB a chip, state "
            f"{memory.argument_size_in_bytes / 1e9:.2f} GB, temporary "
            f"{memory.temp_size_in_bytes / 1e9:.2f} GB"
        )
    assert memory.peak_memory_in_bytes < HBM_BYTES
    # The state is sharded over all 16 chips, not copied, and updated in place.
    assert memory.argument_size_in_bytes < 1.1 * state_bytes / 16 + 2**28
    assert memory.alias_size_in_bytes > 0.99 * state_bytes / 16
