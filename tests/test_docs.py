"""What the documents claim about the code is so."""

import re
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax import cli
from dit_jax.models import mixings, presets
from dit_jax.models.attention import xla
from dit_jax.models.scene import Scene

ROOT = Path(__file__).parents[1]
CLAIMS = re.findall(r"`(\w+\.py)` \((\d+)\)", (ROOT / "CONTRIBUTING.md").read_text())


def num_lines(name: str) -> list[int]:
    found = sorted((ROOT / "dit_jax").rglob(name))
    return [len(path.read_text().splitlines()) for path in found]


@pytest.mark.parametrize(("name", "claimed"), CLAIMS)
def test_the_map_tells_the_length_of_its_files(name, claimed):
    assert any(abs(int(claimed) - n) <= 0.05 * n for n in num_lines(name)), name


def test_the_map_has_the_files_that_must_read_in_one_sitting():
    assert {"loop.py", "step.py", "transformer.py"} <= {name for name, _ in CLAIMS}


def test_every_program_is_in_the_readme():
    text = (ROOT / "README.md").read_text()
    assert [name for name in cli.verbs() if f"`{name}`" not in text] == []


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_links_lead_somewhere(name):
    targets = re.findall(r"\]\(([\w/.]+\.md)\)", (ROOT / name).read_text())
    assert [target for target in targets if not (ROOT / target).exists()] == []


TABLE = re.findall(
    r"^\| `([\w./-]+)` \| .* \| ([\dx]+) \| (\d+) \| ([\d,.]+) M \| ([\d,.]+) \|$",
    (ROOT / "docs" / "models.md").read_text(),
    re.MULTILINE,
)


@pytest.mark.slow
def test_the_table_of_models_is_what_cost_counts():
    assert len(TABLE) > 20
    for name, latents, classes, params, macs in TABLE:
        shape = tuple(map(int, latents.split("x")))
        cost = presets.cost(name, shape, num_classes=int(classes))
        assert f"{cost.num_params / 1e6:,.1f}" == params, name
        assert f"{cost.forward_macs / 1e9:,.1f}" == macs, name


def test_every_preset_has_its_family_in_the_table():
    text = (ROOT / "docs" / "models.md").read_text()
    families = {name.rpartition("-")[0] for name in presets.PRESETS}
    assert [name for name in families if f"| `{name}`" not in text] == []


def test_the_documented_mixing_is_what_it_says():
    """A changed token is seen in its row of its frame, and nowhere else."""
    page = (ROOT / "docs" / "models.md").read_text()
    code = page.split("```python")[1].split("```")[0]
    before = dict(mixings.MIXINGS)
    names: dict = {}
    try:
        exec(code, names)
    finally:
        added = set(mixings.MIXINGS) - set(before)
        for name in added:
            del mixings.MIXINGS[name]
    assert added == {"rows"}
    values = jnp.eye(24)[None, :, None]
    out = names["rows"](xla, 0 * values, 0 * values, values, Scene((2, 3, 4)))
    seen = np.asarray(out)[0, :, 0].reshape(2, 3, 4, 2, 3, 4) > 0
    rows = np.zeros_like(seen)
    for t, y in np.ndindex(2, 3):
        rows[t, y, :, t, y, :] = True
    np.testing.assert_array_equal(seen, rows)


@pytest.mark.slow
def test_the_table_of_plans_is_what_plan_predicts():
    script = ROOT / "docs" / "figures" / "plans.py"
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    page = (ROOT / "docs" / "scale.md").read_text()
    rows = done.stdout.splitlines()
    assert len(rows) == 14  # three configs on four machines, under a head
    assert [row for row in rows if row not in page] == []
