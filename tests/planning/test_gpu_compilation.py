"""The train step compiled for GPUs that are not here."""

from importlib.util import find_spec
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from dit_jax import config
from dit_jax.models.attention import ATTENTIONS
from dit_jax.parallel import mesh, topology
from dit_jax.planning.compilation import compile_step
from dit_jax.planning.hlo import Program
from dit_jax.training import assembly

pytestmark = [
    pytest.mark.gpu_compiler,
    pytest.mark.skipif(
        find_spec("jax_cuda12_plugin") is None, reason="needs make venv-gpu"
    ),
]
ROOT = Path(__file__).parents[2]
SMALL = {
    "model.width": "64",
    "model.depth": "2",
    "model.num_heads": "4",
    "model.dtype": "bfloat16",
    "model.attention": "xla",
    "model.remat": "none",
    "train.batch_size": "16",
    "mesh.data": "2",
}


def test_the_train_step_does_the_work_of_the_formula_and_no_more():
    settings = assembly.resolve(config.load(f"{ROOT}/configs/joint.py:s/1x2x2", SMALL))
    facts = assembly.LatentFacts((4, 8, 8, 8), num_classes=5)
    gpus = mesh.build(topology.devices("h100:2x4"), **settings.mesh)
    run = assembly.assemble(settings, facts, gpus)
    found = compile_step(run.train_step, run.abstract_state, run.abstract_batch, gpus)
    assert found.flops == pytest.approx(run.flops_per_step / 8, rel=0.02)
    params = sum(leaf.size for leaf in jax.tree.leaves(run.abstract_state.params))
    assert found.aliased >= 16 * params / 4  # the state, updated in place
    in_loops = {(c.kind, c.axes) for c in found.collectives if c.in_loop}
    assert ("all-gather", ("fsdp",)) in in_loops  # weights, where they are used


@pytest.fixture(scope="module")
def replicated():
    """Over one GPU."""
    sizes = {"data": 1, "fsdp": 1, "context": 1, "tensor": 1}
    return NamedSharding(mesh.build(topology.devices("h100:1x1"), **sizes), P())


@pytest.mark.parametrize("triton", [True, False])
def test_products_in_a_loop_count_as_often_as_they_run(replicated, triton):
    """In kernels that XLA writes, and left to the library."""
    x, w = (
        jax.ShapeDtypeStruct(dims, jnp.bfloat16, sharding=replicated)
        for dims in ((256, 128), (128, 128))
    )

    def function(x, w):
        return jax.lax.scan(lambda x, _: (jnp.tanh(x @ w), None), x, None, length=7)[0]

    found = jax.jit(function).lower(x, w)
    found = found.compile(compiler_options={"xla_gpu_enable_triton_gemm": triton})
    assert ("__cublas$" in found.as_text()) != triton
    assert Program(found.as_text()).flops() == 7 * 2 * 256 * 128 * 128


def test_attention_of_cudnn_is_counted_as_calls_of_its_kernels(replicated):
    x = jax.ShapeDtypeStruct((2, 128, 4, 64), jnp.bfloat16, sharding=replicated)

    def function(x):
        def layer(x, _):
            return ATTENTIONS["cudnn"](x, x, x), None

        return jax.lax.scan(layer, x, None, length=7)[0].astype(jnp.float32).sum()

    found = Program(jax.jit(jax.grad(function)).lower(x).compile().as_text())
    kernels = {"dot_product_attention_fwd": 7, "dot_product_attention_bwd": 7}
    assert (found.kernels(), found.flops()) == (kernels, 0)
