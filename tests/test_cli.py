"""The verb finder reads files and imports none of them."""

import subprocess
import sys

import pytest

from dit_jax import cli
from dit_jax.errors import UserError

PROGRAM = '''"""Trains a model.

More words.
"""
raise RuntimeError("imported")
if __name__ == "__main__":
    pass
'''
LIBRARY = "TEXT = 'if __name__ == \"__main__\":'\n"


@pytest.fixture
def package(tmp_path, monkeypatch):
    for name in ("train", "fit_codec"):
        (tmp_path / f"{name}.py").write_text(PROGRAM)
    (tmp_path / "config.py").write_text(LIBRARY)
    monkeypatch.setattr(cli, "PACKAGE", tmp_path)
    return tmp_path


@pytest.mark.usefixtures("package")
def test_verbs_are_the_modules_with_a_main_guard():
    assert cli.verbs() == {
        "fit_codec": "Trains a model.",
        "train": "Trains a model.",
    }


@pytest.mark.usefixtures("package")
def test_a_verb_may_be_written_with_a_dash():
    assert cli.find("fit-codec") == "fit_codec"


@pytest.mark.usefixtures("package")
def test_an_unknown_verb_is_answered_with_the_nearest_and_the_list():
    with pytest.raises(UserError, match="did you mean 'train'.*fit_codec, train$"):
        cli.find("trian")


def test_the_command_exits_64_with_one_sentence_on_an_unknown_verb():
    result = subprocess.run(
        [sys.executable, "-c", "from dit_jax.cli import main; main()", "nonsense"],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 64
    assert result.stderr.startswith("error: 'nonsense' is not a verb of dit-jax")
    assert result.stderr.count("\n") == 1


def test_the_command_runs_a_program_as_main_with_the_rest_of_the_arguments(
    package, monkeypatch, capsys
):
    program = 'import sys\nif __name__ == "__main__":\n    print(sys.argv[1:])\n'
    (package / "echo_arguments.py").write_text(program)
    monkeypatch.setattr("dit_jax.__path__", [str(package)])
    monkeypatch.setattr(sys, "argv", ["dit-jax", "echo_arguments", "--seed=1", "x"])
    kept = []
    monkeypatch.setattr("dit_jax.host_memory.keep_freed", lambda: kept.append(True))
    cli.main()
    assert capsys.readouterr().out == "['--seed=1', 'x']\n"
    assert kept  # as `python -m` does while it imports the package
