"""Collectives: their number, their bytes, and how long links take for them."""

import pytest

from dit_jax.parallel import topology
from dit_jax.planning import communication
from dit_jax.planning.communication import Collective
from dit_jax.planning.layout import Layout, spans

LAYERS, D, N = 12, 1024, 4096
LAYER = 12 * D * D  # parameters of a layer without its modulation


def of(plan, kind, axis):
    return [c for c in plan.collectives if c.kind == kind and c.axis == axis]


def one(plan, kind, axis, in_scan=True):
    (found,) = [c for c in of(plan, kind, axis) if c.in_scan == in_scan]
    return found


def seconds(name, kind, size, axes, **sizes):
    layout = Layout(**sizes)
    found = Collective(kind, axes, "", size, 1, in_scan=True, hidden=True)
    links = spans(layout, topology.parse(name))
    return communication.seconds(found, layout, links)


def test_one_device_sends_nothing(make):
    assert not make("v5e:1x1", batch_size=8).collectives


def test_a_layer_is_gathered_twice_and_reduced_once_in_bfloat16(make):
    plan = make()
    gather, reduce = (
        one(plan, "all-gather", "fsdp"),
        one(plan, "reduce-scatter", "fsdp"),
    )
    assert (gather.num_bytes, gather.count) == (2 * LAYER, 2 * LAYERS)
    assert (reduce.num_bytes, reduce.count) == (2 * LAYER, LAYERS)


def test_modulations_travel_and_their_weights_do_not(make):
    """A third of the weights, 6 D^2 of 18 D^2 a layer; a result of 6 D an example."""
    plan = make()
    gathered = sum(c.step_bytes for c in of(plan, "all-gather", "fsdp"))
    assert gathered == 2 * 2 * LAYERS * LAYER
    moved = one(plan, "all-to-all", "fsdp", in_scan=False)
    assert (moved.num_bytes, moved.count) == (4 * LAYERS * 6 * D, 2)


def test_weak_scaling_is_flat(make):
    few, many = make("v5e:8x8", batch_size=64), make("v5e:16x16", batch_size=256)
    assert many.collective_bytes == pytest.approx(few.collective_bytes, rel=0.01)


def test_gradients_of_copies_are_reduced_over_data(make):
    plan = make(data=4, fsdp=64)
    found = one(plan, "all-reduce", "data")
    assert (found.num_bytes, found.count) == (2 * LAYER / 64, LAYERS)
    # the modulation's weights are complete on their shards but for data
    hoisted = one(plan, "all-reduce", "data", in_scan=False)
    assert hoisted.num_bytes == 2 * LAYERS * 6 * D * D / 64


def test_context_reduces_the_same_weights_as_fsdp(make):
    plan = make(fsdp=64, context=4)
    assert one(plan, "reduce-scatter", "fsdp*context").num_bytes == 2 * LAYER


@pytest.mark.parametrize(
    ("remat", "times"), [("none", 8), ("attention", 11), ("full", 12)]
)
def test_ulysses_moves_q_k_v_and_output_each_way(make, remat, times):
    plan = make(fsdp=64, context=4, remat=remat)
    found = one(plan, "all-to-all", "context")
    rows = 256 / 64
    assert found.num_bytes == 2 * rows * N / 4 * D
    assert found.count == times * LAYERS


def test_a_ring_moves_keys_and_values_and_their_gradients(make):
    plan = make(fsdp=64, context=4, ring=4, remat="attention")
    assert not of(plan, "all-to-all", "context")
    found = one(plan, "collective-permute", "context")
    assert found.num_bytes == 2 * (2 * 4 * N / 4 * D)
    assert found.count == 3 * 3 * LAYERS
    both = make(fsdp=32, context=8, ring=2)
    assert of(both, "all-to-all", "context")
    assert one(both, "collective-permute", "context").count == 1 * 4 * LAYERS


def test_tensor_reduces_two_outputs_and_two_gradients_a_layer(make):
    plan = make(fsdp=64, tensor=4, remat="none")
    found = one(plan, "all-reduce", "tensor")
    assert (found.num_bytes, found.count) == (2 * 4 * N * D, 4 * LAYERS)
    # and a layer's weights are gathered in quarters
    assert one(plan, "all-gather", "fsdp").num_bytes == 2 * LAYER / 4


def test_microbatches_gather_again(make):
    whole, half = make(batch_size=512), make(batch_size=512, microbatches=2)
    before = one(whole, "all-gather", "fsdp").step_bytes
    assert one(half, "all-gather", "fsdp").step_bytes == 2 * before


def test_gathering_on_a_ring_uses_both_directions():
    inside, outside = seconds("v5e:16x16", "all-gather", 16e9, ("fsdp",), fsdp=256)
    assert inside == pytest.approx(16e9 * 255 / 256 / (4 * 45e9))
    assert outside == 0
    twice, _ = seconds("v5e:16x16", "all-reduce", 16e9, ("fsdp",), fsdp=256)
    assert twice == 2 * inside


def test_an_exchange_on_a_ring_is_a_quarter_of_its_bytes_over_both_directions():
    """V bytes in all, V / (4 W): the scaling book's all-to-all."""
    sizes = {"fsdp": 16, "context": 16}
    total = 16e9
    inside, _ = seconds("v5e:16x16", "all-to-all", total / 16, ("context",), **sizes)
    assert inside == pytest.approx(total / (4 * 90e9))


def test_between_slices_a_device_sends_its_shard():
    inside, outside = seconds(
        "2*v5e:16x16", "all-reduce", 1e9, ("data",), data=2, fsdp=256
    )
    assert inside == 0
    assert outside == pytest.approx(2 * 1e9 / 2 / 3.125e9)
    _, gathered = seconds("2*v5e:16x16", "all-gather", 512e6, ("fsdp",), fsdp=512)
    assert gathered == pytest.approx(512e6 / 256 / 2 / 3.125e9)


def test_a_switch_reaches_every_device_at_once():
    inside, _ = seconds("h100:1x8", "all-to-all", 8e9, ("context",), context=8)
    assert inside == pytest.approx(8e9 * 7 / 8 / 450e9)


def test_a_hop_uses_one_link():
    sizes = {"fsdp": 16, "context": 16}
    hop, _ = seconds("v5e:16x16", "collective-permute", 45e9, ("context",), **sizes)
    assert hop == 1
