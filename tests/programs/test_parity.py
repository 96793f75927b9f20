"""The parity program on files that do not pass, several at a time."""

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from tests.programs.harness import run

pytestmark = pytest.mark.slow  # programs, in their own processes

GOLDEN = Path(__file__).parents[1] / "golden"
GOOD = GOLDEN / "dit_forward_p4.safetensors"
OTHER_KIND = GOLDEN / "frechet_n64_d16.safetensors"


def changed(folder, name, **arrays):
    """The good file with some arrays replaced, added, or (None) left out."""
    raw = GOOD.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    held = safetensors.numpy.load(raw)
    for key, make in arrays.items():
        key = key.replace("__", "/").replace("_dot_", ".")
        if make is None:
            del held[key]
        else:
            held[key] = np.ascontiguousarray(make(held.get(key)), np.float32)
    file = folder / f"{name}.safetensors"
    safetensors.numpy.save_file(held, file, metadata=header["__metadata__"])
    return file


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cases")
    return {
        "output": changed(folder, "a", out__out=lambda x: x + 1e-3),
        "no output": changed(folder, "b", out__out=None),
        "another output": changed(folder, "c", out__other=lambda _: np.zeros(3)),
        "shape": changed(folder, "d", out__out=lambda x: x[:, :2]),
        "unread": changed(folder, "e", in__z=lambda _: np.zeros(3)),
        "no group": changed(folder, "f", top__level=lambda _: np.zeros(3)),
        "table": changed(folder, "g", param__pos_embed=lambda x: x * 3),
        "no table": changed(folder, "h", param__pos_embed=None),
        "no time": changed(folder, "i", in__t=None),
        "no parameter": changed(folder, "j", param__x_embedder_dot_proj_dot_bias=None),
    }


def test_every_file_gets_its_own_verdict(cases):
    done = run(["parity", GOOD, *cases.values(), OTHER_KIND, "--json"])
    assert done.returncode == 1, done.stderr
    reports = json.loads(done.stdout)
    codes = {path: report["code"] for path, report in reports.items()}
    assert codes.pop(str(GOOD)) == 0 and codes.pop(str(OTHER_KIND)) == 2
    assert set(codes) == set(map(str, cases.values())) and set(codes.values()) == {1}


def test_what_nothing_covers_is_2(tmp_path):
    done = run(["parity", GOOD, OTHER_KIND])
    assert done.returncode == 2
    assert "out: max abs" in done.stdout and "is not covered" in done.stdout


MISTAKES = {
    "a folder": (lambda folder: folder, 64, "is a folder"),
    "nothing": (lambda folder: folder / "none", 64, "does not exist"),
    "no case": (lambda folder: _plain(folder / "plain"), 65, "is no golden case"),
}


def _plain(file):
    safetensors.numpy.save_file({"a": np.zeros(3)}, file)
    return file


@pytest.mark.parametrize(("make", "code", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_file_that_is_no_case_stops_before_the_work(tmp_path, make, code, words):
    done = run(["parity", GOOD, make(tmp_path)])
    assert done.returncode == code and words in done.stderr
    assert done.stderr.count("\n") == 1 and not done.stdout
