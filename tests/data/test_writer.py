"""A dataset folder: complete or none, and never mixed with something else."""

import json

import pytest

from dit_jax.data import manifest as manifest_lib
from dit_jax.data import writer
from dit_jax.data.reader import Reader
from dit_jax.errors import DataError, UserError

NAMES = {"array_record": "{}-{:05d}.array_record", "zarr": "{}.zarr/c/{}/0"}


def test_a_shard_holds_its_own_range_of_records(make_dataset, store):
    manifest = manifest_lib.read(make_dataset(train=20, validation=3, store=store))
    found = [(s.file, s.records) for s in manifest.shards if s.split == "train"]
    names = [NAMES[store].format("train", i) for i in range(3)]
    assert found == list(zip(names, (8, 8, 4), strict=True))
    assert manifest.splits == {"train": 20, "validation": 3}


def test_the_bytes_of_a_dataset_do_not_depend_on_the_run(make_dataset, store):
    a, b = (manifest_lib.read(make_dataset(name, store=store)) for name in ("a", "b"))
    assert a.fingerprint == b.fingerprint
    c = manifest_lib.read(make_dataset("c", train=22, validation=8, store=store))
    assert c.fingerprint != a.fingerprint


def test_the_first_store_is_that_of_manifests_without_one(make_dataset, tmp_path):
    """So datasets that were made before there were two keep their fingerprints."""
    for store in NAMES:
        make_dataset(store, store=store)
        value = json.loads((tmp_path / store / manifest_lib.MANIFEST).read_text())
        assert value.get("store", "array_record") == store
        assert ("store" in value) == (store != "array_record")


def test_without_finish_there_is_no_dataset_and_no_rest(tmp_path, store):
    def write_three_and_die():
        with writer.Writer(
            tmp_path / "data", records_per_shard=2, store=store
        ) as dataset:
            for _ in range(3):
                dataset.add("train", b"record")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write_three_and_die()
    left = [f for f in (tmp_path / "data").rglob("*") if f.is_file()]
    assert {str(f.relative_to(tmp_path / "data")) for f in left} == {
        ".unfinished",
        NAMES[store].format("train", 0),
    }
    with pytest.raises(UserError, match="unfinished"):
        manifest_lib.read(tmp_path / "data")


def test_what_a_killed_writer_left_is_written_anew(tmp_path, make_dataset, store):
    """Also that of a writer to another store."""
    rest = (
        ".tmp-train-00000.array_record",
        *(n.format("train", 9) for n in NAMES.values()),
    )
    for name in (".unfinished", *rest, "train.zarr/c/9/.tmp-x", "codec/codec.json"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_bytes(b"half a shard")
    folder = make_dataset("data", train=5, validation=1, store=store)
    assert len(Reader(folder, "train")) == 5
    left = [f for f in (tmp_path / "data").rglob("*") if f.is_file()]
    assert {str(f.relative_to(tmp_path / "data")) for f in left} == {
        "manifest.json",
        *(NAMES[store].format(split, 0) for split in ("train", "validation")),
        *(
            f"{split}.zarr/zarr.json"
            for split in ("train", "validation")
            if store == "zarr"
        ),
    }


@pytest.mark.parametrize(
    "names",
    [
        ["thesis.tex"],
        ["train-00000.array_record"],
        [".tmp-x"],
        ["codec"],
        ["train.zarr"],
        [".unfinished", "thesis.tex", "train-00000.array_record"],
    ],
)
def test_files_of_others_are_refused_and_kept(tmp_path, make_dataset, names):
    """Only the marker of a writer allows deleting, whatever the files are called."""
    (tmp_path / "data").mkdir()
    for name in names:
        (tmp_path / "data" / name).write_text(name)
    named = "thesis.tex" if "thesis.tex" in names else names[0]
    with pytest.raises(UserError, match=f"such as '{named}'; choose an empty folder"):
        make_dataset("data")
    assert {f.name: f.read_text() for f in (tmp_path / "data").iterdir()} == {
        name: name for name in names
    }


def test_a_finished_dataset_is_refused(make_dataset, store):
    make_dataset("data", store=store)
    with pytest.raises(UserError, match="already holds a dataset"):
        make_dataset("data")


def test_a_store_that_cannot_keep_a_bucket_is_one_sentence():
    with pytest.raises(UserError, match="--store zarr, mount the bucket or copy"):
        writer.Writer("gs://bucket/data", records_per_shard=2)


def test_a_store_that_does_not_exist_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"prepare.store is 'zar'.*mean 'zarr'"):
        writer.Writer(tmp_path / "data", records_per_shard=2, store="zar")


def test_another_version_and_an_edited_manifest_are_bad_data(make_dataset, tmp_path):
    folder = make_dataset()
    file = tmp_path / "data" / manifest_lib.MANIFEST
    text = file.read_text()
    file.write_text(text.replace('"format_version": 1', '"format_version": 9'))
    with pytest.raises(DataError, match="format_version 9, wanted 1"):
        manifest_lib.read(folder)
    file.write_text(text.replace('"fps": 10.0', '"fps": 11.0'))
    with pytest.raises(DataError, match="was edited"):
        manifest_lib.read(folder)
    file.write_text(text[: len(text) // 2])
    with pytest.raises(DataError, match="not valid JSON"):
        manifest_lib.read(folder)
    file.write_text('{"format_version": 1}')
    with pytest.raises(DataError, match="not a manifest"):
        manifest_lib.read(folder)


def test_a_manifest_survives_its_file(make_dataset, tmp_path, store):
    found = manifest_lib.read(make_dataset(store=store))
    manifest_lib.write(tmp_path / "copy", found)
    assert manifest_lib.read(tmp_path / "copy") == found
