"""What the documents claim about the code is so."""

import re
from pathlib import Path

import pytest

from dit_jax import cli

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
