"""Splash attention on a mesh, compiled for TPU slices that are not here."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from dit_jax.models.attention import ATTENTIONS
from dit_jax.models.splash_blocks import BLOCKS
from dit_jax.parallel import topology
from dit_jax.parallel.attention import on_mesh
from dit_jax.parallel.mesh import AXES

SLICES = {
    "TPU v4": "v4:2x2x1",
    "TPU v5 lite": "v5e:2x4",
    "TPU v5": "v5p:2x2x1",
    "TPU v6 lite": "v6e:2x4",
    "TPU7x": "tpu7x:2x2x1",
}
# One for every row of the table; narrower heads fill up to the first.
ROWS = [(128, jnp.bfloat16), (256, jnp.bfloat16), (256, jnp.float32)]
NARROW = [(64, jnp.bfloat16), (72, jnp.bfloat16)]
CASES = {
    **{chip: (chip, 1, ROWS) for chip in SLICES},
    "narrow heads": ("TPU v5 lite", 1, NARROW),
    "ring": ("TPU v5", 2, ROWS[:1]),
}


def test_every_chip_of_the_table_is_compiled_for():
    assert SLICES.keys() == BLOCKS.keys()


def passes(attention, q, ids):
    """The output and the gradients for any array, of a width and a dtype."""
    out, backward = jax.vjp(lambda q, k, v: attention(q, k, v, ids), q, q, q)
    return out, *backward(out)


@pytest.mark.tpu
@pytest.mark.parametrize("case", CASES)
def test_splash_compiles_with_every_block_size_of_the_table(case):
    """Over a context of 4 chips, each with the longest blocks' tokens or more."""
    chip, ring, widths = CASES[case]
    devices = topology.devices(SLICES[chip])[:4]
    assert devices[0].device_kind == chip
    grid = np.asarray(devices).reshape(1, 1, 4, 1)
    mesh = Mesh(grid, AXES, axis_types=(AxisType.Auto,) * 4)
    attention = on_mesh(ATTENTIONS["splash"], mesh, ring)
    assert attention is not ATTENTIONS["splash"]

    def of(shape, dtype, *dims):
        placed = NamedSharding(mesh, PartitionSpec(*dims))
        return jax.ShapeDtypeStruct(shape, dtype, sharding=placed)

    heads = [of((1, 8192, 4, d), t, None, "context") for d, t in widths]
    ids = of((1, 8192), jnp.int32)

    @jax.jit
    def run(heads, ids):
        return [passes(attention, q, ids) for q in heads]

    text = run.lower(heads, ids).compile().as_text()
    assert text.count("tpu_custom_call") >= 2 * len(widths)
