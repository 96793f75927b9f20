"""Configs: a typo stops the run, values are read by their type, snapshots are whole."""

from pathlib import Path

import pytest

from dit_jax import config
from dit_jax.errors import DataError, UserError

COMMON = str(Path(__file__).parents[1] / "configs" / "common.py")


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("train.num_steps", "20", 20),
        ("optimizer.learning_rate", "1", 1.0),
        ("data.flip", "true", True),
        ("codec.block", "(2, 4, 4)", (2, 4, 4)),
        ("codec.block", "2,4,4", (2, 4, 4)),
        ("prepare.sources", "a.mp4,b c.mp4", ("a.mp4", "b c.mp4")),
        ("model.width", "64", 64),
        ("model.width", "none", None),
        ("model.remat", "none", "none"),
        ("model.remat", "None", None),
        ("data.path", "5", "5"),
    ],
)
def test_values_are_read_by_the_type_of_their_key(key, text, value):
    found = config.flatten(config.load(COMMON, {key: text}))[key]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("key", "text", "words"),
    [
        ("train.num_stpes", "1", "did you mean 'train.num_steps'?"),
        ("num_steps", "1", "did you mean 'train.num_steps'?"),
        ("train.num_steps", "1.5", "is not a int"),
        ("data.flip", "maybe", "is not a bool"),
        ("codec.block", "a,b", "is not a tuple"),
        ("train", "1", "is a section"),
        ("train.num_steps.more", "1", "does not exist"),
    ],
)
def test_a_wrong_override_is_one_sentence(key, text, words):
    with pytest.raises(UserError, match=words):
        config.load(COMMON, {key: text})


def test_a_config_is_locked():
    with pytest.raises(AttributeError):
        config.load(COMMON).train.num_stpes = 5


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def get_config(:", "SyntaxError"),
        ("x = 1", "has no function get_config"),
        ("import no_such_module", "no_such_module"),
    ],
)
def test_a_broken_config_file_is_one_sentence(tmp_path, source, words):
    (tmp_path / "broken.py").write_text(source)
    with pytest.raises(UserError, match=words):
        config.load(str(tmp_path / "broken.py"))


def test_a_typo_in_a_config_file_names_the_nearest_key(tmp_path):
    (tmp_path / "typo.py").write_text(
        "from configs import common\n"
        "def get_config(argument):\n"
        "    config = common.get_config()\n"
        "    config.train.num_stpes = 5\n"
        "    return config\n"
    )
    with pytest.raises(UserError, match='num_stpes.*Did you mean "num_steps"'):
        config.load(str(tmp_path / "typo.py"))


def test_a_snapshot_keeps_every_value(tmp_path):
    loaded = config.load(COMMON, {"model.width": "64", "codec.block": "2,4,4"})
    config.write_snapshot(tmp_path, loaded, dataset={"a": 1})
    stored = config.read_snapshot(tmp_path)
    assert config.differences(loaded, stored["config"]) == {}
    assert stored["dataset"] == {"a": 1}
    assert stored["versions"]["jax"] != "not installed"


def test_differences_name_the_key_and_both_values():
    a = config.load(COMMON)
    b = config.override(a, {"train.num_steps": "7"})
    assert config.differences(a, b) == {"train.num_steps": (100_000, 7)}


def test_a_cut_snapshot_is_a_data_error(tmp_path):
    (tmp_path / config.SNAPSHOT).write_text('{"format_version": 1, "conf')
    with pytest.raises(DataError, match="not valid JSON"):
        config.read_snapshot(tmp_path)
