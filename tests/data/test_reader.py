"""Reading: every record is found, and damage is named by shard and record."""

import numpy as np
import pytest
from array_record.python import array_record_module

from dit_jax.data import manifest as manifest_lib
from dit_jax.data import records
from dit_jax.data.reader import Reader
from dit_jax.data.writer import OPTIONS
from dit_jax.errors import DataError, UserError


def test_records_stand_in_the_order_they_were_written(make_dataset, raw_latents):
    reader = Reader(make_dataset(train=20), "train", verify=True)
    for i in range(20):
        assert reader[i]["example_id"] == i
        np.testing.assert_array_equal(reader[i]["latents"], raw_latents(i))
    with pytest.raises(IndexError):
        reader[20]


def test_a_flipped_bit_costs_one_record_and_names_it(
    make_dataset, raw_latents, tmp_path
):
    folder = make_dataset(train=20)
    file = tmp_path / "data" / "train-00001.array_record"
    data = bytearray(file.read_bytes())
    position = data.index(raw_latents(11).tobytes()) + 100
    data[position] ^= 4
    file.write_bytes(bytes(data))
    reader = Reader(folder, "train")  # size and count are right
    with pytest.raises(DataError, match=r"record 3 of shard train-00001.*corrupt"):
        reader[11]
    assert [i for i in range(20) if i != 11 and reader[i]["example_id"] != i] == []
    with pytest.raises(DataError, match=r"train-00001.*has sha256"):
        Reader(folder, "train", verify=True)


def test_a_truncated_shard_is_found_at_opening(make_dataset, tmp_path):
    folder = make_dataset()
    file = tmp_path / "data" / "train-00001.array_record"
    file.write_bytes(file.read_bytes()[:-70])
    with pytest.raises(DataError, match=r"train-00001.*has bytes \d+, wanted \d+"):
        Reader(folder, "train")


def test_a_shard_of_the_right_size_and_no_records_is_found(make_dataset, tmp_path):
    folder = make_dataset()
    file = tmp_path / "data" / "train-00001.array_record"
    file.write_bytes(bytes(file.stat().st_size))
    with pytest.raises(DataError, match=r"train-00001"):
        Reader(folder, "train")


def test_a_missing_shard_is_named(make_dataset, tmp_path):
    folder = make_dataset()
    (tmp_path / "data" / "train-00002.array_record").unlink()
    with pytest.raises(DataError, match=r"train-00002.array_record.*missing"):
        Reader(folder, "train")


def test_records_of_another_shape_are_named(make_dataset, tmp_path):
    folder = make_dataset(train=3, validation=1)
    manifest = manifest_lib.read(folder)
    other = records.latent_fields((1, 3, 4, 3), dtype="float32", has_label=True)
    zeros = {n: np.zeros(f.shape) for n, f in other.items()}
    file = tmp_path / "data" / "train-00000.array_record"
    shard = array_record_module.ArrayRecordWriter(str(file), OPTIONS)
    for _ in range(3):
        shard.write(records.pack(zeros, other))
    shard.close()
    assert file.stat().st_size == manifest.shards[0].bytes  # padded to blocks
    with pytest.raises(DataError, match=r"record 0 of shard train-00000.*latents of"):
        Reader(folder, "train")[0]


def test_a_split_that_is_not_there_is_the_users(make_dataset):
    with pytest.raises(UserError, match="no validation examples"):
        Reader(make_dataset(validation=0), "validation")
    with pytest.raises(UserError, match=r"does not exist.*prepare"):
        Reader("/nowhere", "train")
