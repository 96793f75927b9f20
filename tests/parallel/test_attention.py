"""Attention spread over a mesh equals attention on one device, and how it travels."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from dit_jax.models.attention import ATTENTIONS
from dit_jax.models.splash import splash
from dit_jax.parallel import mesh
from dit_jax.parallel.attention import on_mesh
from dit_jax.types import PADDED

HEADS, DIM = 8, 16
# (data, fsdp, context, tensor), ring
LAYOUTS = {
    "rows": ((2, 4, 1, 1), 1),
    "heads": ((1, 4, 1, 2), 1),
    "ulysses": ((1, 1, 8, 1), 1),
    "ring": ((1, 1, 8, 1), 8),
    "ulysses 4 x ring 2": ((1, 1, 8, 1), 2),
    "ulysses 2 x ring 4": ((1, 1, 8, 1), 4),
    "ulysses 4, tensor 2": ((1, 1, 4, 2), 1),
    "ring 4, tensor 2": ((1, 1, 4, 2), 4),
    "data 2, ulysses 2 x ring 2": ((2, 1, 4, 1), 2),
    "data 2, ring 2, tensor 2": ((2, 1, 2, 2), 2),
}
CONTEXT_PARALLEL = {name: each for name, each in LAYOUTS.items() if each[0][2] > 1}


def spread(name="chunked", layout="ulysses"):
    sizes, ring = LAYOUTS[layout]
    built = mesh.build(**dict(zip(mesh.AXES, sizes, strict=True)))
    return on_mesh(ATTENTIONS[name], built, ring)


def case(rows=2, length=64, segments=0):
    keys = jax.random.split(jax.random.key(1), 5)
    parts = [jax.random.normal(k, (rows, length, HEADS, DIM)) for k in keys[:4]]
    ids = None
    if segments:
        ids = jax.random.randint(keys[4], (rows, length), 0, segments)
    return parts, ids


def passes(attention, parts, ids):
    """The output and the gradients of q, k and v."""
    q, k, v, d_out = parts
    out, backward = jax.vjp(lambda *x: attention(*x, ids), q, k, v)
    return out, *backward(d_out)


def assert_equal(attention, parts, ids):
    ours = jax.jit(lambda parts: passes(attention, parts, ids))(parts)
    plain = passes(ATTENTIONS["xla"], parts, ids)
    for mine, other in zip(ours, plain, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-5 * np.abs(other).max())


@pytest.mark.parametrize("length, segments", [(64, 0), (37, 0), (37, 3)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_attention_on_a_mesh_equals_plain_attention(layout, length, segments):
    assert_equal(spread(layout=layout), *case(length=length, segments=segments))


def test_the_plain_form_can_be_spread_but_not_around_a_ring():
    assert_equal(spread("xla", "ulysses"), *case(length=37, segments=2))
    with pytest.raises(ValueError, match="'xla' cannot be computed for a part of"):
        spread("xla", "ulysses 2 x ring 4")


@pytest.mark.parametrize("layout", ["heads", "ulysses 2 x ring 4"])
def test_kernels_can_be_spread_and_sent_around_a_ring(layout):
    sizes, ring = LAYOUTS[layout]
    built = mesh.build(**dict(zip(mesh.AXES, sizes, strict=True)))
    attention = on_mesh(splash(interpret=True), built, ring)
    assert_equal(attention, *case(rows=4, length=37, segments=2))


@pytest.mark.parametrize("layout", ["rows", "data 2, ulysses 2 x ring 2"])
def test_rows_that_the_mesh_does_not_divide_are_filled_up(layout):
    """Patterns call the same function with batch * groups rows of a few tokens."""
    assert_equal(spread(layout=layout), *case(rows=3, length=5, segments=2))


def test_padded_text_is_seen_by_nobody():
    """The last 10 of 37 tokens, in a segment of their own, change no other output."""
    (q, k, v, _), _ = case(length=37)
    ids = jnp.where(jnp.arange(37) < 27, 0, 1)[None].repeat(2, 0)
    attention = jax.jit(spread(layout="ulysses 2 x ring 4"))
    other_k, other_v = (x.at[:, 27:].set(9.0) for x in (k, v))
    before, after = attention(q, k, v, ids), attention(q, other_k, other_v, ids)
    np.testing.assert_array_equal(before[:, :27], after[:, :27])
    assert np.abs(before[:, 27:] - after[:, 27:]).max() > 1


def test_tokens_of_the_filling_segment_would_be_mixed_with_the_filling():
    """So PADDED is a number that no one uses by chance."""
    assert np.iinfo(np.int32).min == PADDED


def collectives(layout, *, backward, segments=0):
    """How often each kind runs, per device; loops counted by their trips."""
    sizes, ring = LAYOUTS[layout]
    built = mesh.build(**dict(zip(mesh.AXES, sizes, strict=True)))
    attention = on_mesh(ATTENTIONS["chunked"], built, ring)
    parts, ids = case(segments=segments)

    def run(q, k, v, d_out):
        if backward:
            return passes(attention, (q, k, v, d_out), ids)
        return attention(q, k, v, ids)

    placed = NamedSharding(built, PartitionSpec(("data", "fsdp"), "context", "tensor"))
    compiled = jax.jit(run, in_shardings=placed, out_shardings=placed).lower(*parts)
    return count(compiled.compile().as_text())


def count(text):
    """Collectives of an HLO text by kind, each times the trips of its loop."""
    kinds = "all-to-all|collective-permute|all-gather|all-reduce|reduce-scatter"
    trips = {
        body: int(times)
        for body, times in re.findall(
            r"while\(.*body=%?([\w.\-]+).*\"known_trip_count\":\{\"n\":\"(\d+)\"", text
        )
    }
    found, here = {}, ""
    for line in text.splitlines():
        if head := re.match(r"(?:ENTRY )?%?([\w.\-]+) \(.*\{$", line):
            here = head.group(1)
        elif op := re.search(rf" ({kinds})(?:-start)?\(", line):
            found[op.group(1)] = found.get(op.group(1), 0) + trips.get(here, 1)
    return found


def planned(layout, exchanges, hops):
    (_, _, context, _), ring = LAYOUTS[layout]
    plan = {
        "all-to-all": exchanges if context > ring else 0,
        "collective-permute": hops * (ring - 1),
    }
    return {kind: times for kind, times in plan.items() if times}


@pytest.mark.parametrize("layout", CONTEXT_PARALLEL)
def test_forward_q_k_v_and_out_are_exchanged_and_k_and_v_go_round(layout):
    assert collectives(layout, backward=False) == planned(layout, 4, 2)


def test_segments_move_nothing_more():
    layout = "ulysses 2 x ring 4"
    assert collectives(layout, backward=False, segments=3) == planned(layout, 4, 2)


@pytest.mark.parametrize("layout", CONTEXT_PARALLEL)
def test_backward_as_much_is_exchanged_and_the_gradients_of_k_and_v_go_round(layout):
    """k and v go round again, but the only hop of a ring of two is not made twice."""
    hops = 2 + 2 if LAYOUTS[layout][1] == 2 else 2 + 2 + 2
    assert collectives(layout, backward=True) == planned(layout, 4 + 4, hops)


def memory(ring):
    """Temporary bytes per device of a gradient at a fixed number of tokens on each."""
    built = mesh.build(jax.devices()[:ring], data=1, fsdp=1, context=ring, tensor=1)
    attention = on_mesh(ATTENTIONS["chunked"], built, ring)
    placed = NamedSharding(built, PartitionSpec(None, "context"))
    x = jax.ShapeDtypeStruct((1, 1024 * ring, 2, 64), jnp.float32, sharding=placed)
    loss = lambda q, k, v: jnp.sum(attention(q, k, v) ** 2)  # noqa: E731
    compiled = jax.jit(jax.grad(loss, (0, 1, 2))).lower(x, x, x).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def test_a_longer_ring_takes_no_more_memory_of_each_device():
    assert memory(8) < 1.02 * memory(4)


@pytest.mark.parametrize(
    "ring, words",
    [
        (3, "mesh.ring is 3, which does not divide mesh.context = 8"),
        (0, "mesh.ring is 0"),
    ],
)
def test_a_ring_that_does_not_divide_the_context_axis_is_refused(ring, words):
    built = mesh.build(data=1, fsdp=1, context=8, tensor=1)
    with pytest.raises(ValueError, match=words):
        on_mesh(ATTENTIONS["xla"], built, ring)


def test_heads_that_ulysses_does_not_divide_are_refused_with_the_remedy():
    built = mesh.build(data=1, fsdp=1, context=4, tensor=2)
    q = jnp.zeros((1, 8, 12, 4))
    with pytest.raises(ValueError, match=r"num_heads is 12.*=2 .*=4 .*set mesh.ring=2"):
        on_mesh(ATTENTIONS["xla"], built)(q, q, q)
    assert on_mesh(ATTENTIONS["chunked"], built, 2)(q, q, q).shape == q.shape


def test_a_form_that_does_not_run_on_the_meshs_devices_is_refused():
    built = mesh.build(data=8, fsdp=1, context=1, tensor=1)
    for name in ("splash", "cudnn"):
        with pytest.raises(ValueError, match=f"'{name}'.*the mesh is of cpu devices"):
            on_mesh(ATTENTIONS[name], built)


def test_a_function_that_is_no_form_can_be_spread_but_not_around_a_ring():
    def mine(q, k, v, ids):
        return ATTENTIONS["xla"](q, k, v, ids)

    built = mesh.build(data=1, fsdp=1, context=8, tensor=1)
    assert_equal(on_mesh(mine, built), *case(length=37))
    with pytest.raises(ValueError, match="part of the keys; set mesh.ring=1"):
        on_mesh(mine, built, 2)


def test_nothing_is_wrapped_where_xla_needs_no_telling():
    one = mesh.build(jax.devices()[:1], data=1, fsdp=1, context=1, tensor=1)
    rows = mesh.build(data=8, fsdp=1, context=1, tensor=1)
    assert on_mesh(ATTENTIONS["chunked"], one) is ATTENTIONS["chunked"]
    assert on_mesh(ATTENTIONS["xla"], rows) is ATTENTIONS["xla"]
    assert on_mesh(ATTENTIONS["chunked"], rows) is not ATTENTIONS["chunked"]
