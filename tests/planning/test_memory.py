"""Bytes of a device: what is sharded falls with devices, what is kept with policies."""

import jax
import numpy as np
import pytest

from dit_jax import types
from dit_jax.inference import denoiser
from dit_jax.models import presets
from dit_jax.parallel import mesh, sharding
from dit_jax.planning import memory as memory_lib
from dit_jax.planning import workload
from dit_jax.planning.layout import Layout

STATES = ("parameters", "optimizer", "ema", "copy", "gradients")
PER_TOKEN = ("activations", "layer")


@pytest.mark.parametrize("kind", STATES)
def test_states_fall_as_one_over_fsdp(make, kind):
    few, many = make(data=4, fsdp=64), make(data=1, fsdp=256)
    assert few.memory.bytes[kind] == 4 * many.memory.bytes[kind]


def test_context_shards_weights_as_fsdp_does(make):
    assert make(fsdp=64, context=4).memory.states == make(fsdp=256).memory.states


def test_states_are_those_of_the_sharding_rules():
    """Every parameter of a model, where it lies on a mesh of real devices."""
    model = presets.resolve("joint-tiny/1x2x2") | {"preset": "joint-tiny/1x2x2"}
    shape, sizes = (2, 8, 8, 4), {"data": 1, "fsdp": 2, "context": 2, "tensor": 2}
    found = workload.of_model(model, latent_shape=shape, num_classes=5, given_frames=0)
    network = denoiser.build(
        {**model, "dtype": "float32"},
        latent_shape=shape,
        num_classes=5,
        constrain=types.keep_placement,
    )
    built = mesh.build(jax.devices(), **sizes)
    params = network.abstract_params
    placed = sharding.param_shardings(params, network.logical_axes, built)
    shards = jax.tree.map(
        lambda leaf, where: np.prod(where.shard_shape(leaf.shape)), params, placed
    )
    held = memory_lib.shard_params(found, Layout(**sizes))
    assert held == sum(jax.tree.leaves(shards))


def test_policies_keep_less_and_less(make):
    kept = [
        make(remat=remat).memory.bytes["activations"]
        for remat in ("none", "attention", "full")
    ]
    assert kept == sorted(kept, reverse=True)
    offloaded = make(remat="offload").memory
    assert offloaded.bytes["activations"] < kept[-1]
    assert offloaded.host_bytes == kept[1]


def test_saved_attention_is_as_large_as_the_formula_says(make):
    """bf16: 4 D + 4 H bytes a token and layer, full recomputation 2 D."""
    D, H, tokens = 1024, 16, 12 * 4096
    assert make(remat="attention").memory.bytes["activations"] == tokens * 4 * (D + H)
    assert make(remat="full").memory.bytes["activations"] == tokens * 2 * D


def test_written_scores_are_kept_where_no_product_runs_again(make):
    """float32, one a layer, head and pair of tokens."""
    H, N, tokens = 16, 4096, 12 * 4096
    for remat, wanted in {"none": 4 * tokens * N * H, "full": 0}.items():
        written, blocks = (
            make(remat=remat, attention=name).memory.bytes["activations"]
            for name in ("xla", "chunked")
        )
        assert written - blocks == wanted


@pytest.mark.parametrize("kind", PER_TOKEN)
def test_weak_scaling_is_flat(make, kind):
    """As many tokens on each of 64 and of 256 chips."""
    few = make("v5e:8x8", batch_size=64).memory.bytes[kind]
    assert make("v5e:16x16", batch_size=256).memory.bytes[kind] == few


def test_microbatches_divide_activations_and_nothing_else(make):
    whole, half = make(batch_size=512), make(batch_size=512, microbatches=2)
    ratio = whole.memory.bytes["activations"] / half.memory.bytes["activations"]
    assert ratio == 2
    for kind in (*STATES, "batch"):
        assert whole.memory.bytes[kind] == half.memory.bytes[kind]


@pytest.mark.parametrize(
    ("optimizer", "num_bytes"),
    [("adamw", 8), ("lion", 4), ("muon", 4), ("adafactor", 0)],
)
def test_an_optimizer_costs_its_moments(make, optimizer, num_bytes):
    found = make(optimizer=optimizer).memory.bytes
    assert found["optimizer"] == num_bytes / 4 * found["parameters"]


def test_the_plain_form_stores_the_scores_of_a_layer(make):
    """Float32 scores and bfloat16 weights, of all heads."""
    plain, chunked = make(attention="xla"), make(attention="chunked")
    more = plain.memory.bytes["layer"] - chunked.memory.bytes["layer"]
    assert more == 6 * 16 * 4096**2


def test_float32_needs_no_copy(make):
    assert make(dtype="float32").memory.bytes["copy"] == 0
