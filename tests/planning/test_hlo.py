"""What is read from compiled programs, against programs whose work is known."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from dit_jax.planning.hlo import Program, array_bytes, replica_groups, shape

SIZES = {"data": 2, "fsdp": 4}
BYTES = 4 * 64 * 32  # of one device's float32 [64, 32]


def compiled(function, *arguments):
    return jax.jit(function).lower(*arguments).compile()


def read(function, *arguments):
    return Program(compiled(function, *arguments).as_text())


def test_products_in_nested_loops_count_as_often_as_they_run():
    def function(x, w):
        def outer(x, _):
            return jax.lax.fori_loop(0, 5, lambda i, x: jnp.tanh(x @ w), x), None

        return jax.lax.scan(outer, x, None, length=7)[0]

    found = read(function, jnp.ones((8, 16)), jnp.ones((16, 16)))
    assert found.flops() == 7 * 5 * 2 * 8 * 16 * 16


@pytest.mark.parametrize(
    "options",
    [
        {"window_strides": (2, 1), "padding": ((1, 2), (0, 0))},
        {"window_strides": (1, 1), "padding": ((0, 0), (3, 1)), "lhs_dilation": (2, 3)},
        {"window_strides": (1, 2), "padding": "SAME", "rhs_dilation": (2, 1)},
    ],
)
def test_convolutions_count_what_xla_counts(options):
    convolve = partial(
        jax.lax.conv_general_dilated,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        **options,
    )
    found = compiled(convolve, jnp.ones((3, 11, 9, 5)), jnp.ones((3, 2, 5, 7)))
    expected = found.cost_analysis()["flops"]
    assert Program(found.as_text()).flops() == expected


def gather(x):
    return jax.lax.all_gather(x, "fsdp", tiled=True)


def scatter(x):
    return jax.lax.psum_scatter(x, "fsdp", tiled=True)


def transpose(x):
    return jax.lax.all_to_all(x, "fsdp", 0, 1, tiled=True)


def shift(x):
    return jax.lax.ppermute(x, "data", [(0, 1), (1, 0)])


ONE = {  # kind, axes, payload and bytes sent of one call on [64, 32] a device
    "all-gather": (gather, ("fsdp",), 4 * BYTES, 3 * BYTES),
    "reduce-scatter": (scatter, ("fsdp",), BYTES, 3 * BYTES // 4),
    "all-reduce": (
        partial(jax.lax.psum, axis_name=("data", "fsdp")),
        ("data", "fsdp"),
        BYTES,
        2 * BYTES * 7 // 8,
    ),
    "all-to-all": (transpose, ("fsdp",), BYTES, 3 * BYTES // 4),
    "collective-permute": (shift, ("data",), BYTES, BYTES),
}


@pytest.mark.parametrize("kind", ONE)
@pytest.mark.parametrize("turns", [1, 6])
def test_a_collective_has_its_axes_bytes_and_turns(kind, turns):
    function, axes, payload, sent = ONE[kind]
    mesh = Mesh(np.array(jax.devices()).reshape(2, 4), tuple(SIZES))

    def local(x):
        def turn(total, _):
            # the carry decides what is exchanged, so that nothing leaves the loop
            return total + function(x * jnp.tanh(total)).sum(), None

        if turns == 1:
            return function(x).sum()[None]
        return jax.lax.scan(turn, jnp.float32(1), None, length=turns)[0][None]

    both = P(("data", "fsdp"))
    mapped = jax.shard_map(
        local, mesh=mesh, in_specs=both, out_specs=both, check_vma=False
    )
    (found,) = read(mapped, jnp.ones((8 * 64, 32))).collectives(SIZES)
    assert (found.kind, found.axes) == (kind, axes)
    assert (found.payload, found.sent) == (payload, sent)
    assert (found.count, found.in_loop) == (turns, turns > 1)
    assert found.total == turns * sent


@pytest.mark.parametrize(
    "text",
    [
        "replica_groups={{0,2},{1,3}}",
        "replica_groups=[2,2]<=[2,2]T(1,0)",
        "replica_groups=mesh['axis_0'=2,'axis_1'=2] {'axis_0'}",
        "replica_groups=mesh['a'=2,'b'=2], device_ids=([2,2]T(1,0)) {'b'}",
        "replica_groups=mesh['a'=4] {'a':(1)2}",
        "replica_groups=mesh['a'=1,'b'=4], device_ids=([2,2]T(1,0)) {'b':(2)2}",
    ],
)
def test_groups_are_read_in_every_spelling(text):
    groups = replica_groups(f", channel_id=1, {text}, dimensions={{0}}", 4)
    np.testing.assert_array_equal(np.sort(groups), [[0, 2], [1, 3]])


def test_no_groups_are_all_devices():
    np.testing.assert_array_equal(replica_groups("replica_groups={}", 3), [[0, 1, 2]])


def entry(*lines):
    return Program("\n".join(["ENTRY %main (p: f32[]) -> f32[] {", *lines, "}"]))


def test_a_product_of_the_library_counts_like_a_dot():
    """As the GPU compiler writes it: columns of p times a vector for each row."""
    found = entry(
        "  %p = bf16[4,128,256]{2,1,0} parameter(0)",
        "  %q = bf16[4,128,64]{2,1,0} parameter(1)",
        "  ROOT %c = (bf16[4,256,64]{2,1,0}, s8[4194304]{0}) custom-call(%p, %q), "
        'custom_call_target="__cublas$lt$matmul", backend_config={"gemm_backend_config"'
        ':{"dot_dimension_numbers":{"lhs_contracting_dimensions":["1"],'
        '"rhs_contracting_dimensions":["1"],"lhs_batch_dimensions":["0"],'
        '"rhs_batch_dimensions":["0"]}}}',
    )
    assert found.flops() == 2 * 4 * 256 * 64 * 128


TWO, PARTS = "(f32[64], bf16[8,32])", "(f32[8], bf16[1,32])"  # a part: one of 8


@pytest.mark.parametrize(
    ("kind", "at_once", "started"),
    [
        ("all-gather", TWO, f"({PARTS}, {TWO})"),
        ("reduce-scatter", PARTS, f"({TWO}, {PARTS})"),
        ("all-to-all", TWO, f"({TWO}, {TWO})"),
        ("all-reduce", TWO, TWO),
        ("collective-permute", TWO, f"({TWO}, {TWO})"),
    ],
)
def test_a_started_collective_of_two_arrays_has_the_bytes_of_a_plain_one(
    kind, at_once, started
):
    pairs = ", source_target_pairs={{0,1},{1,0}}" if "permute" in kind else ""
    plain, start = (
        entry(f"  ROOT %c = {type} {opcode}(%p, %q){pairs}")
        for type, opcode in ((at_once, kind), (started, f"{kind}-start"))
    )
    (expected,) = plain.collectives({"fsdp": 8})
    (found,) = start.collectives({"fsdp": 8})
    assert found == expected
    assert found.payload == 4 * 64 + 2 * 8 * 32


def test_types():
    assert shape("bf16[28,72]{1,0:T(8,128)(2,1)}") == (28, 72)
    assert array_bytes("(f32[2,3]{1,0}, u32[], pred[5])") == [24, 4, 5]


def test_a_loop_without_a_readable_end_is_refused():
    found = compiled(
        lambda x: jax.lax.while_loop(lambda x: x.sum() < 9, lambda x: x @ x, x),
        jnp.ones((2, 2)),
    )
    with pytest.raises(ValueError, match="trip count of loop"):
        Program(found.as_text())
