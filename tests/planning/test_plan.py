"""A plan as JSON and as lines; from every shipped config; without an array."""

import json
import re

import jax
import pytest

from dit_jax import config
from dit_jax.parallel import topology
from dit_jax.planning import inputs, report
from dit_jax.planning import plan as plan_lib
from tests.training.conftest import ROOT
from tests.training.test_configs import CONFIGS

PLANNED = {"plan.latent_shape": "16,32,32,4", "plan.num_classes": "10"}


def planned(name, machine="v5e:4x4", **values):
    overrides = PLANNED | {key.replace("__", "."): v for key, v in values.items()}
    settings = inputs.resolve(config.load(f"{ROOT}/configs/{name}", overrides))
    machine = topology.parse(machine)
    return plan_lib.make(*inputs.read(settings, machine), machine)


def test_a_plan_survives_json_with_all_it_was_made_of(make):
    plan = make(fsdp=64, context=4)
    stored = plan.to_json()
    assert json.loads(json.dumps(stored)) == stored
    assert stored["format_version"] == 1
    assert stored["inputs"]["chip"]["bf16_flops"] == 197e12
    assert stored["inputs"]["mesh"]["context"] == 4
    assert stored["roofline"]["terms"]["linear"]["formula"]
    assert stored["predictions"]["memory_bytes"] == sum(
        stored["memory"]["bytes"].values()
    )
    assert stored["predictions"]["sent_bytes"] == sum(
        one["sent"] for one in stored["collectives"]
    )
    assert set(stored["memory"]["bytes"]) == set(stored["memory"]["formulas"])


def test_compiled_figures_stand_beside_the_predicted(make):
    plan = make()
    twice = {"memory_bytes": 2 * plan.memory.total}
    (line,) = [x for x in report.lines(plan, twice) if x.startswith("    memory_bytes")]
    assert line.endswith("2.000")
    assert not any("compiled" in line for line in report.lines(plan))


def test_the_report_names_the_bound_and_every_collective(make):
    plan = make(fsdp=64, context=4)
    text = "\n".join(report.lines(plan))
    assert "bound by compute" in text
    assert all(one.what in text for one in plan.collectives)
    said = report.verdict(plan.memory.total, plan.memory.capacity)
    assert said.startswith("fits: ")


# batches of 5 clips a device do not go with 16 chips
BATCHES = {"train__batch_size": "240"}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_can_be_planned_and_makes_no_array(name):
    given = {"train__given_frames": "8"} if name == "vdt_physion" else {}
    before = len(jax.live_arrays())
    plan = planned(f"{name}.py", **BATCHES, **given)
    assert len(jax.live_arrays()) == before
    assert plan.topology.num_devices == 16
    assert plan.training.dtype == "bfloat16"
    assert plan.step_s > 0


def test_a_dataset_says_its_own_shape(tmp_path, monkeypatch):
    class Found:
        latent_shape, classes = (8, 16, 16, 4), ("a", "b", "c")

    monkeypatch.setattr(inputs.manifest, "read", lambda path: Found)
    plan = planned("joint.py", data__path=str(tmp_path))
    assert plan.workload.tokens == 8 * 8 * 8
    (table,) = [p for p in plan.workload.parameters if "label/table" in p.path]
    assert table.shape[0] == 3 + 1


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"plan__latent_shape": "none"}, "neither data.path nor plan.latent_shape"),
        ({"plan__latent_shape": "16,32,32"}, "four whole numbers T,H,W,C"),
        ({"plan__latent_shape": "16,0,32,4"}, "four whole numbers T,H,W,C"),
        ({"plan__num_classes": "-1"}, "plan.num_classes is -1; give 0 or more"),
        ({"train__num_steps": "0"}, "train.num_steps is 0; give at least 1"),
        ({"model__preset": "joint-b/1x3x3"}, "cannot be cut into patches of 1x3x3"),
        ({"mesh__tensor": "5"}, "but v5e:4x4 has 16 devices"),
        ({"train__batch_size": "24"}, "positive multiple of the mesh's data*fsdp = 16"),
    ],
)
def test_what_cannot_be_planned_is_refused_with_its_remedy(values, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        planned("joint.py", **values)
