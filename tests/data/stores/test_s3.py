"""Datasets in a bucket: the same as on a disk, and every failure is one sentence."""

import numpy as np
import pytest
import tensorstore as ts

from dit_jax import buckets, codecs, files
from dit_jax.data import manifest as manifest_lib
from dit_jax.data import writer
from dit_jax.data.loader import Loader
from dit_jax.data.reader import Reader
from dit_jax.errors import DataError, StorageError, UserError, exit_code
from tests.s3_server import ask, s3, s3_endpoint

__all__ = ["s3", "s3_endpoint"]
ZARR = {"train": 20, "validation": 3, "store": "zarr"}


def _requests() -> int:
    found = ts.experimental_collect_matching_metrics("/tensorstore/kvstore/s3/read")
    return sum(v["value"] for m in found for v in m["values"] if "value" in v)


def test_a_bucket_gives_the_batches_of_a_disk_bit_for_bit(make_dataset, s3):
    folders = [
        make_dataset("local", has_text=True),
        make_dataset(s3, store="zarr", has_text=True),
    ]
    local, remote = (Loader(f, batch_size=4, seed=3, num_threads=2) for f in folders)
    for _ in range(2 * 23 // 4 + 1):
        a, b = next(local), next(remote)
        for name in ("latents", "example_id", "label", "text", "text_mask", "fps"):
            np.testing.assert_array_equal(
                getattr(a, name), getattr(b, name), strict=True
            )


def test_a_bucket_holds_the_objects_of_a_disk(make_dataset, s3):
    local = manifest_lib.read(make_dataset("local", **ZARR))
    assert manifest_lib.read(make_dataset(s3, **ZARR)) == local
    assert files.children(s3) == ["manifest.json", "train.zarr", "validation.zarr"]
    assert len(Reader(s3, "train", verify=True)) == 20


def test_a_record_costs_one_request(make_dataset, s3):
    """All its fields in one, and the index of a shard once a shard."""
    reader = Reader(make_dataset(s3, **ZARR, has_text=True), "train")
    before = _requests()
    reader.batch(range(20))
    assert _requests() - before == 20 + 3


def test_a_flipped_bit_in_an_object_names_the_record(make_dataset, raw_latents, s3):
    make_dataset(s3, **ZARR)
    url = f"{s3}/train.zarr/c/1/0"
    data = bytearray(files.read_bytes(url))
    data[data.index(raw_latents(11).tobytes()) + 100] ^= 4
    files.write_bytes(url, bytes(data))
    with pytest.raises(DataError, match="record 3 of shard train.zarr/c/1/0.*corrupt"):
        Reader(s3, "train").batch([2, 11])
    with pytest.raises(DataError, match="train.zarr/c/1/0.*has sha256"):
        Reader(s3, "train", verify=True)


CHANGES = {
    "missing": (None, "is missing"),
    "empty": (b"", "has bytes fewer, wanted"),
    "shorter": (slice(None, -70), "has bytes fewer, wanted"),
    "longer": (b"12", r"has bytes (\d+), wanted"),
}


@pytest.mark.parametrize("change, message", CHANGES.values(), ids=CHANGES)
def test_an_object_of_another_size_is_found_at_opening(
    make_dataset, s3, change, message
):
    make_dataset(s3, **ZARR)
    url = f"{s3}/train.zarr/c/2/0"
    data = files.read_bytes(url)
    files.remove(url)
    if isinstance(change, slice):
        files.write_bytes(url, data[change])
    elif change is not None:
        files.write_bytes(url, data + change if change else b"")
    with pytest.raises(DataError, match=f"shard train.zarr/c/2/0 of .*{message}"):
        Reader(s3, "train")


def test_a_folder_of_others_is_refused_and_an_unfinished_one_written_anew(
    make_dataset, s3
):
    files.write_bytes(f"{s3}/thesis.tex", b"")
    with pytest.raises(UserError, match="such as 'thesis.tex'; choose an empty"):
        make_dataset(s3, **ZARR)
    files.remove(f"{s3}/thesis.tex")
    for name in (writer.MARKER, "train.zarr/c/9/0", "codec/codec.json"):
        files.write_bytes(f"{s3}/{name}", b"half")
    with pytest.raises(UserError, match="unfinished or none"):
        manifest_lib.read(s3)
    make_dataset(s3, **ZARR)
    assert files.children(f"{s3}/train.zarr/c") == ["0", "1", "2"]
    with pytest.raises(UserError, match="already holds a dataset"):
        make_dataset(s3, **ZARR)


def test_what_is_not_there_is_the_users(s3):
    with pytest.raises(UserError, match=r"'s3://clips/.*' does not exist; make it"):
        manifest_lib.read(s3)
    with pytest.raises(UserError, match="does not exist; fit one"):
        codecs.load(f"{s3}/codec")
    with pytest.raises(UserError, match="the bucket of 's3://none/x.* does not exist"):
        manifest_lib.read("s3://none/x")
    with pytest.raises(UserError, match="the bucket of 's3://none/x.* does not exist"):
        writer.Writer("s3://none/x", records_per_shard=2, store="zarr")


def test_credentials_that_are_refused_are_a_storage_error(
    make_dataset, s3, s3_endpoint
):
    make_dataset(s3, **ZARR)
    buckets.context.cache_clear()
    ask(s3_endpoint, "/moto-api/reset-auth", method="POST", data=b"0")
    for attempt in (
        lambda: Reader(s3, "train"),
        lambda: writer.Writer(f"{s3}/b", records_per_shard=2, store="zarr"),
    ):
        with pytest.raises(StorageError, match="check the credentials") as caught:
            attempt()
        assert exit_code(caught.value) == 74
        assert "\n" not in str(caught.value)


def test_an_endpoint_that_does_not_answer_is_a_storage_error(s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StorageError, match="connect.*check the network, the endpoint"):
        Reader(s3, "train")


def test_a_server_that_goes_away_is_no_bad_data(make_dataset, s3, s3_endpoint):
    reader = Reader(make_dataset(s3, **ZARR), "train")
    assert reader[0]["example_id"] == 0
    ask(s3_endpoint, "/moto-api/reset-auth", method="POST", data=b"0")
    with pytest.raises(StorageError, match=r"train.zarr/c/0/0' .*check the cred"):
        reader[1]


def test_a_bucket_that_cannot_be_is_the_users():
    with pytest.raises(UserError, match=r"'s3://B_/x' names no bucket \(Invalid"):
        manifest_lib.read("s3://B_/x")


def test_what_is_there_is_an_object_or_has_some_in_it(s3):
    files.write_bytes(f"{s3}/folder/empty", b"")
    for name in ("s3://clips", s3, f"{s3}/folder", f"{s3}/folder/empty"):
        assert files.exists(name) and files.exists(f"{name}/")
    for name in (f"{s3}/fold", f"{s3}/folder/emp", f"{s3}/folder/empty/x"):
        assert not files.exists(name)
    files.remove(f"{s3}/folder")
    assert files.children(s3) == [] and not files.exists(s3)


def test_pieces_are_the_object(s3, monkeypatch):
    monkeypatch.setattr(buckets, "PIECE_BYTES", 10)
    for size in (0, 9, 10, 11, 25):
        files.write_bytes(f"{s3}/object", bytes(range(size)))
        found = list(files.pieces(f"{s3}/object"))
        assert b"".join(found) == bytes(range(size))
        assert all(len(piece) <= 10 for piece in found)
