"""Collectives: their number and their bytes."""

import pytest

LAYERS, D, N = 12, 1024, 4096
LAYER = 12 * D * D  # parameters of a layer without its modulation


def of(plan, kind, axis):
    return [c for c in plan.collectives if c.kind == kind and c.axis == axis]


def one(plan, kind, axis, in_scan=True):
    (found,) = [c for c in of(plan, kind, axis) if c.in_scan == in_scan]
    return found


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
    gathered = sum(c.num_bytes * c.count for c in of(plan, "all-gather", "fsdp"))
    assert gathered == 2 * 2 * LAYERS * LAYER
    moved = one(plan, "all-to-all", "fsdp", in_scan=False)
    assert (moved.num_bytes, moved.count) == (4 * LAYERS * 6 * D, 2)


def test_weak_scaling_is_flat(make):
    few, many = make("v5e:8x8", batch_size=64), make("v5e:16x16", batch_size=256)
    assert many.sent_bytes == pytest.approx(few.sent_bytes, rel=0.02)


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
    ("remat", "times"), [("none", 8), ("attention", 12), ("full", 12)]
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
    numbers = 2 * 4 * N / 4 * D
    keys, gradients = of(plan, "collective-permute", "context")
    assert (keys.num_bytes, keys.count) == (2 * numbers, 3 * 2 * LAYERS)
    assert (gradients.num_bytes, gradients.count) == (4 * numbers, 3 * LAYERS)
    both = make(fsdp=32, context=8, ring=2)
    assert of(both, "all-to-all", "context")
    again, _ = of(both, "collective-permute", "context")
    assert again.count == 1 * 3 * LAYERS


def test_tensor_reduces_two_outputs_and_two_gradients_a_layer(make):
    plan = make(fsdp=64, tensor=4, remat="none")
    found = one(plan, "all-reduce", "tensor")
    assert (found.num_bytes, found.count) == (2 * 4 * N * D, 4 * LAYERS)
    # and a layer's weights are gathered in quarters
    assert one(plan, "all-gather", "fsdp").num_bytes == 2 * LAYER / 4


def test_microbatches_gather_again(make):
    whole, half = make(batch_size=512), make(batch_size=512, microbatches=2)
    before = one(whole, "all-gather", "fsdp").sent
    assert one(half, "all-gather", "fsdp").sent == 2 * before
