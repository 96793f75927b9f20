"""Small datasets without video: latents that say which record they belong to."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dit_jax.codec_spec import CodecSpec
from dit_jax.data import manifest as manifest_lib
from dit_jax.data import records, writer
from dit_jax.data.manifest import Manifest, SourceEntry
from dit_jax.data.sources.labels import ClassEntry
from dit_jax.data.stores import STORES

SPEC = CodecSpec(
    name="pca-4x4x2-c3",
    kind="pca",
    compression=(2, 4, 4),
    channels=3,
    mean=(0.5, -1.0, 0.0),
    std=(4.0, 1.0, 0.25),
    scale=(2.0, 1.0, 0.5),
    sha256="ab" * 32,
    flip_sign=None,
)
SHAPE = (2, 3, 4, 3)
TEXT_SHAPE = (4, 6)


def _raw_latents(example_id: int) -> np.ndarray:
    return np.random.default_rng(example_id).normal(size=SHAPE).astype(np.float32)


def _source(number: int) -> SourceEntry:
    return SourceEntry(
        origin=f"{number}.mp4",
        name=f"film {number}",
        licence="CC0",
        sha256="cd" * 32,
        fps=10.0,
        width=4,
        height=4,
        frames=100,
        shots=((0, 100),),
    )


def write_dataset(
    folder,
    *,
    train: int = 23,
    validation: int = 7,
    records_per_shard: int = 8,
    dtype: str = "float32",
    has_label: bool = True,
    has_text: bool = False,
    num_sources: int = 1,
    store: str = "array_record",
) -> Manifest:
    """Example i has latents `raw_latents(i)`, label i % 3, source i % num_sources,
    10 + i fps, and a text of i % 5 tokens of value i."""
    fields = records.latent_fields(SHAPE, dtype=dtype, has_label=has_label)
    if has_text:
        fields |= records.text_fields(*TEXT_SHAPE)
    with writer.Writer(
        folder, records_per_shard=records_per_shard, store=store
    ) as dataset:
        for i in range(train + validation):
            record = {
                "latents": _raw_latents(i),
                "example_id": i,
                "source": i % num_sources,
                "start_frame": 4 * i,
                "fps": 10 + i,
            }
            if has_label:
                record["label"] = i % 3
            if has_text:
                mask = np.arange(TEXT_SHAPE[0]) < i % 5
                record["text"] = np.outer(mask, np.full(TEXT_SHAPE[1], i))
                record["text_mask"] = mask
                record["pooled"] = np.full(TEXT_SHAPE[1], i + 1e-4)
            split = "train" if i < train else "validation"
            dataset.add(split, records.pack(record, fields))
        shards = dataset.finish()
    manifest = Manifest(
        codec=SPEC,
        text_encoder={"name": "counting"} if has_text else None,
        fields=fields,
        classes=tuple(ClassEntry(n, None, None, None) for n in "abc"),
        fps=10.0,
        sources=tuple(map(_source, range(num_sources))),
        shards=shards,
        settings={"prepare": {"num_frames": 4}},
        store=store,
    )
    writer.commit(folder, manifest)
    return manifest


@pytest.fixture
def make_dataset(tmp_path) -> Callable[..., str]:
    """`make_dataset(train=..., ...)` -> the folder of a new dataset."""

    def make(name="data", **settings):
        folder = name if "://" in name else str(tmp_path / name)
        write_dataset(folder, **settings)
        return folder

    return make


@pytest.fixture(params=STORES)
def store(request) -> str:
    return request.param


@pytest.fixture
def shard_file(tmp_path) -> Callable[[int], Path]:
    """`shard_file(k)` -> the file of training shard k of the dataset `data`."""

    def find(number: int) -> Path:
        shards = manifest_lib.read(tmp_path / "data").shards
        return (
            tmp_path / "data" / [s.file for s in shards if s.split == "train"][number]
        )

    return find


@pytest.fixture
def raw_latents() -> Callable[[int], np.ndarray]:
    """example id -> what its record holds."""
    return _raw_latents
