"""Records a second: our loader against Grain's raw read of the same files.

    .venv/bin/python benchmarks/loader.py

Latents of 131 kB in bfloat16, shuffled, batches of 16, four threads, a warm page cache,
one process, the readers in turns. The raw read hands out bytes; our loader hands out
checked, normalised float32 batches. The bucket is a server on loopback that takes its
share of the same cores and copies a whole object for every range of it, so its shards
are small; each of its turns reads every record once, none from memory.
Writes benchmarks/results/loader.json.
"""

import argparse
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import grain  # noqa: E402
import numpy as np  # noqa: E402

from benchmarks.parts.report import Report  # noqa: E402
from dit_jax import buckets  # noqa: E402
from dit_jax.codec_spec import CodecSpec  # noqa: E402
from dit_jax.data import manifest as manifest_lib  # noqa: E402
from dit_jax.data import records, writer  # noqa: E402
from dit_jax.data.loader import Loader  # noqa: E402
from tests import s3_server  # noqa: E402

SHAPE = (16, 32, 32, 4)
BATCH, THREADS, PREFETCH = 16, 4, 8
NUM_LOCAL, NUM_REMOTE = 3200, 640
TURN = 1600  # records of a turn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    report = Report("loader")
    with tempfile.TemporaryDirectory() as scratch, s3_server.serve() as endpoint:
        os.environ |= s3_server.environment(endpoint)
        rates = measure(Path(scratch), f"s3://{s3_server.BUCKET}/latents", rounds)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    raw = medians["raw"]
    result = {
        "record_bytes": 2 * int(np.prod(SHAPE)),
        "batch_size": BATCH,
        "threads": THREADS,
        "rounds": rounds,
        "records_per_s": {name: round(value) for name, value in medians.items()},
        "records_per_s_range": {
            name: [round(min(values)), round(max(values))]
            for name, values in rates.items()
        },
        "share_of_raw": {
            name: round(medians[name] / raw, 3) for name in ("array_record", "zarr")
        },
        "wanted_share_of_raw": 0.5,
    }
    print(json.dumps(result["records_per_s"]), json.dumps(result["share_of_raw"]))
    report.write(result, ("grain", "array-record", "tensorstore"))


def measure(scratch: Path, url: str, rounds: int) -> dict[str, list[float]]:
    """Records a second of every turn, by reader."""
    local = {name: str(scratch / name) for name in ("array_record", "zarr")}
    for store, folder in local.items():
        write(folder, store, NUM_LOCAL, records_per_shard=512)
    write(url, "zarr", NUM_REMOTE, records_per_shard=16)
    readers: dict[str, Callable[[int], Iterator[Any]]] = {
        "raw": lambda seed: raw_read(Path(local["array_record"]), seed),
        **{name: lambda s, f=folder: read(f, s) for name, folder in local.items()},
    }
    rates: dict[str, list[float]] = {name: [] for name in (*readers, "zarr_s3")}
    for number in range(rounds):
        for name, reader in readers.items():
            rates[name].append(rate(reader(number), TURN // BATCH))
        buckets.context.cache_clear()
        rates["zarr_s3"].append(rate(read(url, number), NUM_REMOTE // BATCH - 1))
    return rates


def rate(batches: Iterator[Any], count: int) -> float:
    """Records a second, from the second batch on."""
    next(batches)
    start = time.perf_counter()
    for _ in itertools.islice(batches, count):
        pass
    return count * BATCH / (time.perf_counter() - start)


def raw_read(folder: Path, seed: int) -> Iterator[Any]:
    """Grain's own: random records of ArrayRecord files as bytes, in batches."""
    files = sorted(str(file) for file in folder.glob("*.array_record"))
    source = grain.MapDataset.source(grain.sources.ArrayRecordDataSource(files))
    batches = source.shuffle(seed=seed).repeat().batch(BATCH, batch_fn=list)
    options = grain.ReadOptions(num_threads=THREADS, prefetch_buffer_size=PREFETCH)
    return iter(batches.to_iter_dataset(options))


def read(folder: str, seed: int) -> Iterator[Any]:
    return Loader(
        folder, batch_size=BATCH, seed=seed, num_threads=THREADS, prefetch=PREFETCH
    )


def write(folder: str, store: str, count: int, records_per_shard: int) -> None:
    """A dataset of noise."""
    fields = records.latent_fields(SHAPE, dtype="bfloat16", has_label=True)
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(64, *SHAPE)).astype(np.float32)
    with writer.Writer(
        folder, records_per_shard=records_per_shard, store=store
    ) as dataset:
        for i in range(count):
            whence = {"label": 0, "source": 0, "start_frame": i, "fps": 24.0}
            record = {"latents": noise[i % 64], "example_id": i} | whence
            dataset.add("train", records.pack(record, fields))
        shards = dataset.finish()
    channels = SHAPE[-1]
    codec = CodecSpec(
        name="noise",
        kind="pca",
        compression=(4, 8, 8),
        channels=channels,
        mean=(0.1,) * channels,
        std=(1.1,) * channels,
        scale=(1.1,) * channels,
        sha256="0" * 64,
        flip_sign=None,
    )
    manifest = manifest_lib.Manifest(
        codec=codec,
        text_encoder=None,
        fields=fields,
        classes=(),
        fps=24.0,
        sources=(),
        shards=shards,
        settings={},
        store=store,
    )
    writer.commit(folder, manifest)


if __name__ == "__main__":
    main()
