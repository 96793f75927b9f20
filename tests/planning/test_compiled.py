"""The plan of a small model against what the TPU compiler makes of its train step."""

import json

import pytest

from dit_jax import plan as plan_program
from dit_jax.parallel import topology as topologies
from dit_jax.parallel.constrain import OnMesh
from dit_jax.planning import comparison, inputs
from dit_jax.planning import plan as plan_lib
from dit_jax.planning.comparison import Comparison
from tests.programs.harness import run
from tests.training.test_configs import load

pytestmark = pytest.mark.tpu
SMALL = {
    "model.width": "512",
    "model.num_heads": "4",
    "model.depth": "12",
    "model.dtype": "bfloat16",
    "train.batch_size": "32",
    "mesh.data": "1",
    "plan.latent_shape": "8,16,16,16",
    "plan.num_classes": "10",  # or a table would be a large share of so small a model
}


def compared(topology="v5e:2x4", **changes):
    values = SMALL | {key.replace("__", "."): v for key, v in changes.items()}
    config = load("joint_xl_256px.py", values)
    machine = topologies.parse(topology)
    plan = plan_lib.make(*inputs.read(config, machine), machine)
    return Comparison(plan, plan_program.compiled(config, plan))


@pytest.fixture(scope="module")
def sharded():
    return compared()


def test_nothing_is_sent_that_was_not_planned(sharded):
    assert sharded.unplanned() == []
    assert sharded.figures()["sent_bytes"] <= 1.10 * sharded.plan.sent_bytes


def test_memory_is_near_what_must_be_held(sharded):
    assert sharded.compiled.peak <= 1.15 * sharded.plan.memory.total


def test_the_whole_state_is_updated_in_place(sharded):
    assert sharded.compiled.aliased > 0.999 * sharded.plan.memory.states


@pytest.fixture(scope="module")
def kept():
    return compared(model__remat="none", model__attention="xla")


def test_products_are_those_of_the_model(kept):
    assert kept.compiled.kernels == {}
    ratio = kept.hardware_flops / kept.plan.predictions()["hardware_flops"]
    assert 0.98 <= ratio <= 1.02


@pytest.fixture(scope="module")
def recomputed():
    return compared(model__remat="full")


def test_policies_hold_less_and_less(sharded, kept, recomputed):
    offloaded = compared(model__remat="offload")
    assert offloaded.compiled.host > 0
    assert offloaded.compiled.peak < sharded.compiled.peak < kept.compiled.peak
    assert recomputed.compiled.peak < sharded.compiled.peak


def test_kernels_run_as_often_as_the_policy_says(sharded, recomputed):
    """Their work is no product that the compiler shows; their calls are."""

    def calls(compared, direction):
        kernels = compared.compiled.kernels.items()
        return sum(count for name, count in kernels if direction in name)

    depth = int(SMALL["model.depth"])
    assert calls(sharded, "_fwd_") == depth
    assert calls(recomputed, "_fwd_") == 2 * depth
    assert calls(sharded, "_dkv_") == calls(recomputed, "_dkv_") >= depth


BROKEN = {
    "weights that nobody gathers": lambda patch: patch.setattr(
        OnMesh, "gather", lambda self, weight, dims: weight
    ),
    "modulations that are gathered as weights": lambda patch: patch.setattr(
        OnMesh, "__call__", lambda self, x, dims: x
    ),
}


@pytest.mark.parametrize("breaks", BROKEN.values(), ids=BROKEN)
def test_a_broken_rule_is_seen(monkeypatch, breaks):
    breaks(monkeypatch)
    found = compared()
    ratio = found.figures()["sent_bytes"] / found.plan.sent_bytes
    assert found.unplanned() or ratio > 1.10


def test_context_parallelism_sends_what_was_planned():
    found = compared(mesh__context="4")
    assert found.unplanned() == []
    assert found.figures()["sent_bytes"] <= 1.10 * found.plan.sent_bytes


def test_out_of_memory_is_a_sentence_with_remedies(tmp_path):
    file = tmp_path / "plan.json"
    flags = ["--config=configs/joint_3b_480p.py", "--topology=v5e:2x2", "--compile"]
    flags += ["--config.mesh.data=1", "--config.train.batch_size=4", f"--json={file}"]
    done = run(["plan", *flags])
    assert done.returncode == 1, done.stderr
    assert "does not fit: " in done.stdout and "GB too much" in done.stdout
    assert "cheapest remedies" in done.stdout or "no change of remat" in done.stdout
    assert "Traceback" not in done.stderr
    stored = json.loads(file.read_text())
    assert not stored["fits"]
    compiled = stored["compiled"]
    assert compiled["needed_bytes"] > compiled["available_bytes"]


def test_the_json_holds_both_sides(sharded):
    value = json.loads(json.dumps(sharded.to_json()))
    assert set(value["over_predicted"]) == set(sharded.figures())
    lines = "\n".join(comparison.lines(sharded))
    assert "0 collectives that were not planned" in lines
