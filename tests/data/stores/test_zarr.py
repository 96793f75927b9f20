"""The zarr store: a format that others read, and nothing lost reads as zeros."""

import json

import google_crc32c
import numpy as np
import pytest

from dit_jax.data import manifest as manifest_lib
from dit_jax.data import records, writer
from dit_jax.data.reader import Reader
from dit_jax.data.stores import zarr
from dit_jax.errors import DataError, UserError

MISSING = 2**64 - 1


def _index(data: bytes, records_per_shard: int) -> np.ndarray:
    """(offset, bytes) of every record, as the zarr specification has it; checked."""
    start = len(data) - 16 * records_per_shard - 4
    crc = int.from_bytes(data[-4:], "little")
    assert google_crc32c.value(data[start:-4]) == crc
    return np.frombuffer(data[start:-4], "<u8").reshape(-1, 2).copy()


def test_a_shard_is_what_the_specification_says(make_dataset, shard_file, raw_latents):
    """Read by hand: each record with its crc32c, then the index with its own."""
    folder = make_dataset(train=20, store="zarr")
    fields = manifest_lib.read(folder).fields
    for shard, first in enumerate((0, 8, 16)):
        data = shard_file(shard).read_bytes()
        index = _index(data, 8)
        for inside, (offset, size) in enumerate(index):
            if first + inside >= 20:
                assert offset == size == MISSING
                continue
            chunk = data[offset : offset + size]
            record, crc = chunk[:-4], int.from_bytes(chunk[-4:], "little")
            assert google_crc32c.value(record) == crc
            found = records.unpack(record, fields)
            np.testing.assert_array_equal(found["latents"], raw_latents(first + inside))


def test_others_find_an_array_of_bytes(make_dataset, tmp_path):
    fields = manifest_lib.read(make_dataset(train=20, store="zarr")).fields
    found = json.loads((tmp_path / "data" / "train.zarr" / "zarr.json").read_text())
    assert (found["zarr_format"], found["node_type"]) == (3, "array")
    assert found["shape"] == [20, records.Format(fields).num_bytes]
    assert found["chunk_grid"]["configuration"]["chunk_shape"][0] == 8
    (sharding,) = found["codecs"]
    assert sharding["name"] == "sharding_indexed"
    names = [codec["name"] for codec in sharding["configuration"]["codecs"]]
    assert names == ["bytes", "crc32c"]


def test_a_record_that_the_index_has_lost_is_not_read_as_zeros(
    make_dataset, shard_file
):
    folder = make_dataset(train=20, store="zarr")
    data = shard_file(1).read_bytes()
    index = _index(data, 8)
    index[3] = MISSING
    raw = index.tobytes()
    crc = google_crc32c.value(raw).to_bytes(4, "little")
    shard_file(1).write_bytes(data[: -len(raw) - 4] + raw + crc)
    reader = Reader(folder, "train")
    with pytest.raises(DataError, match=r"record 3 of shard train.zarr/c/1/0.*missing"):
        reader[11]
    assert reader[12]["example_id"] == 12


def test_a_damaged_index_is_named(make_dataset, shard_file):
    folder = make_dataset(train=20, store="zarr")
    data = bytearray(shard_file(0).read_bytes())
    data[-30] ^= 1
    shard_file(0).write_bytes(bytes(data))
    reader = Reader(folder, "train")
    with pytest.raises(DataError, match=r"of shard train.zarr/c/0/0.*shard index"):
        reader[1]
    assert reader[8]["example_id"] == 8


@pytest.mark.parametrize(
    "change", [None, ("[8,", "[9,"), ("crc32c", "gzip"), ("{", "")]
)
def test_a_changed_array_is_not_taken_for_the_manifests(make_dataset, tmp_path, change):
    folder = make_dataset(store="zarr")
    file = tmp_path / "data" / "train.zarr" / "zarr.json"
    text = file.read_text()
    if change is None:
        file.unlink()
    else:
        assert change[0] in text
        file.write_text(text.replace(*change))
    with pytest.raises(DataError, match=r"train.zarr/zarr.json is missing or not that"):
        Reader(folder, "train")


def test_a_split_of_less_than_one_shard_is_read(make_dataset):
    reader = Reader(make_dataset(validation=3, store="zarr"), "validation")
    assert reader.batch(range(3))["example_id"].tolist() == [23, 24, 25]


def test_a_shard_that_memory_should_not_hold_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(zarr, "MAX_SHARD_BYTES", 100)
    with writer.Writer(tmp_path / "d", records_per_shard=9, store="zarr") as dataset:
        for _ in range(3):
            dataset.add("train", bytes(30))
        with pytest.raises(UserError, match="shard is 9.*choose at most 3"):
            dataset.add("train", bytes(30))
