"""Reading: every record is found, and damage is named by shard and record."""

import dataclasses
import re

import numpy as np
import pytest

from dit_jax.data import manifest as manifest_lib
from dit_jax.data import records
from dit_jax.data.reader import Reader
from dit_jax.errors import DataError, UserError


def test_records_stand_in_the_order_they_were_written(make_dataset, raw_latents, store):
    reader = Reader(make_dataset(train=20, store=store), "train", verify=True)
    for i in range(20):
        assert reader[i]["example_id"] == i
        np.testing.assert_array_equal(reader[i]["latents"], raw_latents(i))
    assert reader.batch([7, 19, 7])["example_id"].tolist() == [7, 19, 7]
    assert [int(i) for i in reader.column("example_id")] == list(range(20))
    with pytest.raises(IndexError):
        reader[20]


def test_a_column_is_read_in_parts(make_dataset, store):
    reader = Reader(make_dataset(train=71, records_per_shard=30, store=store), "train")
    assert [int(i) for i in reader.column("start_frame")] == [4 * i for i in range(71)]


def test_a_flipped_bit_costs_one_record_and_names_it(
    make_dataset, raw_latents, shard_file, store
):
    folder = make_dataset(train=20, store=store)
    file = shard_file(1)
    data = bytearray(file.read_bytes())
    position = data.index(raw_latents(11).tobytes()) + 100
    data[position] ^= 4
    file.write_bytes(bytes(data))
    reader = Reader(folder, "train")  # size and count are right
    shard = r"train\D*0*1\D.*\(record 11 of train\)"
    with pytest.raises(DataError, match=rf"record 3 of shard {shard}.*is corrupt"):
        reader[11]
    with pytest.raises(DataError, match=rf"record 3 of shard {shard}.*is corrupt"):
        reader.batch([2, 11, 3])
    assert [i for i in range(20) if i != 11 and reader[i]["example_id"] != i] == []
    with pytest.raises(DataError, match=r"train.*has sha256"):
        Reader(folder, "train", verify=True)


@pytest.mark.parametrize("change", [lambda d: d[:-70], lambda d: d + b"x"])
def test_a_shard_of_another_size_is_found_at_opening(
    make_dataset, shard_file, store, change
):
    folder = make_dataset(store=store)
    file = shard_file(1)
    wanted = file.stat().st_size
    file.write_bytes(change(file.read_bytes()))
    found = f"has bytes {file.stat().st_size}, wanted {wanted}"
    with pytest.raises(DataError, match=found) as caught:
        Reader(folder, "train")
    assert str(file.relative_to(folder)) in str(caught.value)


def test_a_shard_of_the_right_size_and_no_records_is_found(
    make_dataset, shard_file, store
):
    folder = make_dataset(store=store)
    file = shard_file(1)
    file.write_bytes(bytes(file.stat().st_size))
    with pytest.raises(DataError, match=re.escape(str(file.relative_to(folder)))):
        Reader(folder, "train")[8]


def test_a_missing_shard_is_named(make_dataset, shard_file, store):
    folder = make_dataset(store=store)
    file = shard_file(2)
    file.unlink()
    with pytest.raises(DataError, match=rf"{file.relative_to(folder)} of .*missing"):
        Reader(folder, "train")


def test_records_of_another_shape_are_named(make_dataset, store):
    """The bytes are as many, so that no size tells."""
    folder = make_dataset(store=store)
    manifest = manifest_lib.read(folder)
    t, h, w, c = manifest.latent_shape
    other = records.latent_fields((t, w, h, c), dtype="float32", has_label=True)
    manifest_lib.write(folder, dataclasses.replace(manifest, fields=other))
    with pytest.raises(DataError, match=r"record 0 of shard train.*has latents of"):
        Reader(folder, "train")[0]


def test_a_split_that_is_not_there_is_the_users(make_dataset):
    with pytest.raises(UserError, match="no validation examples"):
        Reader(make_dataset(validation=0), "validation")
    with pytest.raises(UserError, match=r"does not exist.*prepare"):
        Reader("/nowhere", "train")
