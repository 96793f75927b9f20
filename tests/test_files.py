"""Files appear whole or not at all, and a full disk is a sentence."""

import errno
import os

import pytest

from dit_jax import files
from dit_jax.errors import DataError, StorageError, UserError


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "value.json"
    files.write_json(target, {"a": 1})

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="the disk is full"):
        files.write_json(target, {"a": 2})
    assert files.read_json(target) == {"a": 1}
    assert os.listdir(tmp_path) == ["value.json"]


def test_a_file_in_the_way_of_a_folder_is_named(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(UserError, match="a file is in the way"):
        files.make_folder(tmp_path / "x" / "y")


def test_space_that_is_not_there_is_refused(tmp_path):
    files.require_free_space(tmp_path / "new" / "folder", 1, "a run")
    with pytest.raises(StorageError, match="a run needs"):
        files.require_free_space(tmp_path / "new", 10**18, "a run")


def test_json_that_was_cut_is_a_data_error(tmp_path):
    (tmp_path / "cut.json").write_text('{"a": ')
    with pytest.raises(DataError, match="not valid JSON"):
        files.read_json(tmp_path / "cut.json")
