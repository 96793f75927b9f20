import pickle

import numpy as np
import pytest

from dit_jax.errors import DataError, UserError
from dit_jax.weights import i3d_kinetics400

TRAP = "Mixed_5b/Branch_2/Conv3d_0a_3x3"


@pytest.fixture(scope="module")
def weights():
    return i3d_kinetics400.load()


def _raw(weights):
    manifest = i3d_kinetics400.read_manifest()
    in_order = sorted(manifest, key=lambda name: manifest[name]["offset"])
    return b"".join(weights.variables[name].tobytes() for name in in_order)


def test_the_manifest_covers_the_data_file_without_gaps():
    entries = sorted(
        i3d_kinetics400.read_manifest().values(), key=lambda entry: entry["offset"]
    )
    assert len(entries) == 230
    for entry, following in zip(entries, entries[1:], strict=False):
        assert entry["offset"] + entry["size"] == following["offset"]
        assert entry["size"] == 4 * np.prod(entry["shape"])
    assert entries[-1]["offset"] + entries[-1]["size"] == 50_818_176


def test_masked_crc32c_is_tensorflows():
    # crc32c("1234") of a float whose bytes spell it; the check value of "123456789"
    # is 0xE3069283, so a standard crc32c is what the mask is applied to.
    assert i3d_kinetics400.google_crc32c.value(b"123456789") == 0xE3069283
    four = np.frombuffer(b"1234", "<f4")
    crc = i3d_kinetics400.google_crc32c.value(b"1234")
    rotated = ((crc & 0x7FFF) << 17) | (crc >> 15)
    assert i3d_kinetics400.masked_crc32c(four) == (rotated + 0xA282EAD8) % 2**32


def test_the_packages_weights_are_those_of_tf_hub(weights):
    # The hash is of variables.data-00000-of-00001 of deepmind/i3d-kinetics-400/1.
    assert weights.sha256 == (
        "40cda3a73eba49c7cec1b125cf2197c122a1c4e08a50031b91889e9be252d1ac"
    )
    assert len(weights.variables) == 230
    assert weights.variables[f"{TRAP}/conv_3d/w"].shape == (3, 3, 3, 32, 128)


def test_tf_hubs_own_file_reads_the_same(weights, tmp_path):
    file = tmp_path / "variables.data-00000-of-00001"
    file.write_bytes(_raw(weights))
    again = i3d_kinetics400.load(file)
    assert again.sha256 == weights.sha256
    for name, tensor in weights.variables.items():
        np.testing.assert_array_equal(again.variables[name], tensor)


def test_one_wrong_bit_is_refused_by_the_tensors_name(weights, tmp_path):
    data = bytearray(_raw(weights))
    data[i3d_kinetics400.read_manifest()[f"{TRAP}/conv_3d/w"]["offset"] + 5] ^= 1
    file = tmp_path / "bad.data"
    file.write_bytes(data)
    with pytest.raises(DataError, match=f"1 of 230 tensors differ, such as {TRAP}"):
        i3d_kinetics400.load(file)


def test_other_checkpoints_are_refused_in_one_sentence(tmp_path):
    file = tmp_path / "other.ckpt"
    kernel = {"kernel": np.ones((1, 1), np.float32)}
    for tree, reason in [
        ({"params": {}}, "no params and batch_stats"),
        ({"params": {"Dense": {"Dense_0": kernel}}, "batch_stats": {}}, "unknown"),
        ({"params": {}, "batch_stats": {}}, "230 variables are missing"),
        ([1], "no params and batch_stats"),
    ]:
        file.write_bytes(pickle.dumps(tree))
        with pytest.raises(DataError, match=f"other.ckpt is not an I3D.*{reason}"):
            i3d_kinetics400.load(file)


def test_missing_weights_name_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(i3d_kinetics400.sys, "prefix", str(tmp_path))
    monkeypatch.setattr(i3d_kinetics400.importlib.metadata, "files", lambda name: None)
    with pytest.raises(
        UserError, match="without them there is no FVD; run `make venv`"
    ):
        i3d_kinetics400.load()
    with pytest.raises(UserError, match="does not exist; check the --weights path"):
        i3d_kinetics400.load(tmp_path / "absent.ckpt")


def test_weights_are_looked_for_in_the_package_before_the_venv(tmp_path, monkeypatch):
    class Installed:
        name = i3d_kinetics400.FILE_NAME

        def locate(self):
            return tmp_path / "package" / self.name

    shared = tmp_path / "share" / "dit_jax" / i3d_kinetics400.FILE_NAME
    monkeypatch.setattr(i3d_kinetics400.sys, "prefix", str(tmp_path))
    monkeypatch.setattr(
        i3d_kinetics400.importlib.metadata, "files", lambda name: [Installed()]
    )
    for file in (shared, Installed().locate()):
        file.parent.mkdir(parents=True)
        file.touch()
        assert i3d_kinetics400.find_weights() == file
