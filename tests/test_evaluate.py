import json
import subprocess
import sys

import numpy as np
import pytest

from dit_jax import evaluate
from dit_jax.errors import UserError
from dit_jax.evaluation.protocol import MATERIAL


def _evaluate(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "dit_jax.evaluate", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
    )


def _result(folder, name, value, **changes):
    protocol = {"real": {}, "fake": {}}
    for field in MATERIAL:
        *parents, leaf = field.split(".")
        (protocol[parents[0]] if parents else protocol)[leaf] = "same"
    record = {
        "metric": "fvd@64",
        "value": value,
        "scores": {"standard_error": 1.0},
        "protocol": protocol | changes,
    }
    (folder / name).write_text(json.dumps(record))
    return folder / name


@pytest.mark.parametrize(
    "arguments, code, sentence",
    [
        (["fdv"], 64, "error: the command is 'fdv'"),
        ([], 64, "error: the command is ''"),
        (["fvd"], 64, "error: --real is missing; give it: the reference videos\n"),
        (["fvd", "--real=/absent", "--fake=/absent"], 64, "'/absent' does not exist"),
        (["fvd", "more"], 64, "'more' is not understood"),
        (["fvd", "--num=1"], 64, "num"),
        (["verify", "--weights=/absent"], 64, "check the --weights path"),
        (["verify", "--weights=/tmp"], 64, "'/tmp', a folder; give the weight file"),
        (["verify", "--config=configs/demo.py"], 64, "--config means nothing to this"),
        (
            ["verify", "--config.train.num_steps=5"],
            64,
            "--config.train.num_steps means",
        ),
        (["compare", "a.json"], 64, "two result files, found 1"),
    ],
)
def test_a_mistake_is_one_sentence(arguments, code, sentence):
    done = _evaluate(*arguments)
    assert done.returncode == code
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "changes, wrong",
    [
        (None, "metric, value, scores, protocol"),
        ({"metric": 5}, "metric"),
        ({"value": "low"}, "value"),
        ({"scores": {}}, "scores.standard_error"),
        ({"protocol": []}, "protocol"),
    ],
)
def test_a_file_that_is_no_result_is_refused_by_what_is_wrong(tmp_path, changes, wrong):
    file = _result(tmp_path, "a.json", 10.0)
    record = json.loads(file.read_text())
    file.write_text(json.dumps(5 if changes is None else record | changes))
    with pytest.raises(UserError, match=f"is no result file, its {wrong} are missing"):
        evaluate.run_compare([str(file), str(file)])


def test_a_seed_is_no_config(tmp_path):
    a = _result(tmp_path, "a.json", 10.0)
    done = _evaluate("compare", a, a, "--seed=3")
    assert done.returncode == 0, done.stderr


def test_an_unknown_golden_is_not_covered():
    done = _evaluate("verify", "--only=C")
    assert done.returncode == 2
    assert "no golden is called 'C'; known: A, B" in done.stdout


def test_comparison_needs_one_protocol(tmp_path):
    a = _result(tmp_path, "a.json", 10.0)
    b = _result(tmp_path, "b.json", 12.5)
    other = _result(tmp_path, "other.json", 12.5, ddof=0)
    done = _evaluate("compare", a, b)
    assert (done.returncode, "difference +2.5000" in done.stdout) == (0, True)
    done = _evaluate("compare", a, other)
    assert (done.returncode, "ddof: 'same', 0" in done.stdout) == (1, True)


@pytest.mark.slow
def test_a_number_is_printed_and_stored_with_its_protocol(tmp_path):
    random = np.random.RandomState(0)
    for name in ("real", "fake"):
        videos = random.randint(0, 256, (6, 12, 16, 16, 3), dtype=np.uint8)
        np.savez(tmp_path / f"{name}.npz", videos=videos, fps=8)
    done = _evaluate(
        "fvd",
        f"--real={tmp_path / 'real.npz'}",
        f"--fake={tmp_path / 'fake.npz'}",
        "--num=5",
        "--num_frames=9",
        f"--output={tmp_path / 'out.json'}",
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "out.json").read_text())
    assert f"fvd@5 = {record['value']:.4f} ± " in done.stdout
    assert done.stdout.rstrip().endswith("out.json")
    assert record["protocol"]["clip_rule"] == "first 9 frames of each video"
    assert record["protocol"]["fake"]["num_available"] == 6
