"""The time of a step: published bounds, and what it waits for."""

import pytest

from dit_jax.parallel import topology
from dit_jax.planning import published, roofline, workload
from dit_jax.planning.training import Training


def products_alone(head_dim, remat):
    """The share of peak that the kernels leave Wan's shape on Ironwood."""
    wan = workload.transformer(
        "wan",
        depth=40,
        width=5120,
        num_heads=5120 // head_dim,
        tokens=75_600,
        hidden=13_824,
        context=512,
    )
    machine = topology.parse("tpu7x:2x4x4")
    training = Training(batch_size=16, num_steps=1, remat=remat)
    terms = roofline.products(wan, training, machine).values()
    model = 16 * wan.train_flops / machine.num_devices
    return model / sum(term.seconds for term in terms) / machine.chip.bf16_flops


@pytest.mark.parametrize(
    ("head_dim", "remat", "percent"),
    [(128, "full", 29), (128, "none", 38), (256, "none", 64)],
)
def test_long_video_has_the_bounds_that_were_derived_for_it(head_dim, remat, percent):
    assert round(100 * products_alone(head_dim, remat)) == percent


def test_recomputation_alone_leaves_three_quarters_of_linear_maps():
    dense = published.dense("m", 1e9, depth=4, width=1024, tokens=2048)
    machine = topology.parse("v5e:4x4")
    full = Training(batch_size=16, num_steps=1, remat="full")
    none = Training(batch_size=16, num_steps=1, remat="none")
    again = roofline.hardware_flops(dense, full, machine)
    assert again / roofline.hardware_flops(dense, none, machine) == 4 / 3


def test_a_step_is_its_slowest_resource_and_what_nothing_hides(make):
    plan = make(fsdp=64, context=4)
    took = {name: term.seconds for name, term in plan.roofline.terms.items()}
    kernels = took["linear"] + took["attention"] + took["memory"]
    assert kernels > max(took["ici"], took["dcn"], took["host"])
    assert plan.step_s == pytest.approx(kernels + took["exchanges"])
    assert took["exchanges"] > 0
    assert plan.roofline.bound == "compute"


def test_a_ring_hides_behind_attention_as_long_as_that_takes(make):
    """A hop is hidden while tokens of a device exceed FLOPs for a byte of one link."""

    def exposed(tokens):
        clip = workload.transformer(
            "clip", depth=12, width=1024, num_heads=8, tokens=tokens, hidden=4096
        )
        plan = make("v5e:4x4", model=clip, batch_size=1, context=16, ring=16)
        took = {name: term.seconds for name, term in plan.roofline.terms.items()}
        kernels = took["linear"] + took["attention"] + took["memory"]
        assert took["ring"] > 0
        return plan.step_s - max(kernels, took["ici"]) - took["exchanges"]

    assert exposed(4096) > 0
    assert exposed(131_072) == pytest.approx(0, abs=1e-9)


def test_few_tokens_on_a_chip_are_bound_by_the_links(make):
    """256 chips gather every layer for one short clip each."""
    short = workload.transformer(
        "short", depth=12, width=1024, num_heads=16, tokens=64, hidden=4096
    )
    assert make(model=short).roofline.bound == "ici"
    slices = make("8*v5e:2x2", model=short, batch_size=32, data=8, fsdp=4)
    assert slices.roofline.bound == "dcn"


def test_a_chip_per_token_is_bound_by_its_states():
    tiny = workload.transformer(
        "tiny", depth=12, width=4096, num_heads=32, tokens=8, hidden=16_384
    )
    from dit_jax.planning import plan as plan_lib
    from dit_jax.planning.layout import Layout

    training = Training(batch_size=1, num_steps=1)
    machine = topology.parse("v5p:1x1x1")
    found = plan_lib.make(tiny, training, Layout(), machine)
    assert found.roofline.bound == "hbm"


def test_twice_the_batch_takes_twice_as_long_in_kernels(make):
    once, twice = make().roofline.terms, make(batch_size=512).roofline.terms
    for kernel in ("linear", "attention"):
        assert twice[kernel].seconds == 2 * once[kernel].seconds
    assert twice["ici"].seconds == once["ici"].seconds


def test_offloading_takes_the_time_of_the_host_link(make):
    plan = make(remat="offload")
    moved = 2 * plan.memory.host_bytes
    assert plan.roofline.terms["host"].seconds == pytest.approx(moved / 15e9)


def test_days_are_whole_steps(make):
    assert roofline.days(86_400.0, batch_size=10, num_samples=11) == 2
    plan = make(num_steps=1000)
    assert plan.days == pytest.approx(1000 * plan.step_s / 86_400)


def test_every_term_states_its_formula_with_its_constants(make):
    terms = make(fsdp=64, context=4).roofline.terms
    assert "1.97e+14 FLOP/s" in terms["linear"].formula
    assert "1.97e+14 FLOP/s" in terms["attention"].formula
    assert "8.19e+11 bytes/s" in terms["memory"].formula
    assert "4.5e+10 bytes/s" in terms["ici"].formula
    assert "3.12e+09 bytes/s" in terms["dcn"].formula
