"""Turns videos into a latent dataset.

python -m dit_jax.prepare --config configs/demo.py --output runs/demo/data

Decodes every video once, finds the shots, fits the codec (or loads `codec.path`),
encodes windows of frames, and writes shards, codec/ and, last of all, manifest.json.
With `--store zarr` the output may be a bucket's, s3://BUCKET/NAME or gs://BUCKET/NAME.
A finished dataset of the same settings is left alone. With `prepare.text=minilm` every
video has a caption beside it (dog.txt for dog.mp4), which is stored encoded.
"""

import collections
import json
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from absl import flags

from dit_jax import codecs, files, program, text
from dit_jax import config as config_lib
from dit_jax.codecs import pca_fit, pixels, quality
from dit_jax.data import manifest as manifest_lib
from dit_jax.data import records, writer
from dit_jax.data.manifest import Manifest, SourceEntry
from dit_jax.data.sources import captions, clips, collection, labels, videos
from dit_jax.data.sources.clips import ClipSettings
from dit_jax.data.sources.collection import Collection
from dit_jax.data.stores import choose_store
from dit_jax.errors import UserError
from dit_jax.text import Captions

flags.DEFINE_string("store", None, "array_record or zarr; sets prepare.store.")


def main(arguments: list[str]) -> None:
    program.refuse_words(arguments)
    if program.FLAGS.num_processes not in (None, 1):
        raise UserError(
            "prepare runs as one process; leave out --num_processes, --process_id and "
            "--coordinator_address"
        )
    config = program.config()
    if program.FLAGS.store is not None:
        config = config_lib.override(config, {"prepare.store": program.FLAGS.store})
    prepare(config, program.require_flag("output"))


def prepare(config: config_lib.ConfigDict, output: str) -> Manifest:
    """Makes the dataset of a config, unless it is there already."""
    section = config_lib.section(config, "prepare")
    settings, storage = ClipSettings.from_section(section)
    codec_settings = config_lib.section(config, "codec")
    codec_path = codec_settings.pop("path")
    codec = None if codec_path is None else codecs.load(codec_path)
    if codec is None:
        settings.require_blocks(codec_settings["block"])
        pca_fit.require_settings(**codec_settings)
    else:
        settings.require_blocks(codec.spec.compression)
    records.require_latent_dtype(storage["latent_dtype"])
    writer.require_records_per_shard(storage["records_per_shard"])
    choose_store(storage["store"], output)
    text.require_name(storage["text"])
    sources, excluded = collection.find_sources(settings)
    hashes = {source.origin: files.sha256(source.path) for source in sources}
    told = _captions(storage, config.text.path, sources)
    identity = _identity(section, codec_settings, codec, hashes, told)
    if manifest_lib.exists(output):
        return _finished(output, identity, storage["store"])
    writer.require_vacant(output)
    started = time.monotonic()
    program.say(
        f"prepares {len(sources)} videos at {settings.height}x{settings.width} into "
        f"{output}"
    )
    with tempfile.TemporaryDirectory(prefix="dit_jax-") as scratch:
        found = collection.collect(sources, settings, scratch, program.say)
        _say_plan(found)
        if codec is None:
            codec = pca_fit.fit(found.fitting_videos(excluded), **codec_settings)
        for name, windows in found.unseen(excluded):
            if windows:
                db = quality.psnr_db(codec, found.batches(windows))
                program.say(f"codec on {name}: {db:.2f} dB")
        manifest = _write(found, codec, storage, output, identity, hashes, told)
    program.say(
        f"wrote {output}: {_counts(manifest)}, {len(manifest.classes)} classes, codec "
        f"{codec.spec.name}, in {time.monotonic() - started:.0f} s"
    )
    return manifest


def _identity(
    section: dict[str, Any],
    codec_settings: dict[str, Any],
    codec: codecs.Codec | None,
    hashes: dict[str, str],
    told: Captions | None,
) -> dict[str, Any]:
    """Everything that decides the records of the dataset, as plain JSON."""
    value = {
        "prepare": {key: value for key, value in section.items() if key != "store"},
        "codec": codec_settings if codec is None else {"sha256": codec.spec.sha256},
        "sources": hashes,
        "text": None if told is None else told.to_json(),
    }
    return json.loads(json.dumps(value))


def _captions(
    storage: dict[str, Any], path: str | None, sources: Sequence[videos.Source]
) -> Captions | None:
    if storage["text"] == text.NONE:
        return None
    encoder = text.load(storage["text"], path, length=storage["text_length"])
    return Captions(encoder, captions.read(sources))


def _finished(output: str, identity: dict[str, Any], store: str) -> Manifest:
    """The manifest of a dataset that is there; UserError when it is another one."""
    manifest = manifest_lib.read(output)
    differing = config_lib.differences(
        manifest.settings | {"prepare.store": manifest.store},
        identity | {"prepare.store": store},
    )
    if differing:
        key, (found, wanted) = next(iter(differing.items()))
        raise UserError(
            f"{output!r} holds a dataset of other settings ({key}: {found!r}, wanted "
            f"{wanted!r}); choose another --output or delete it"
        )
    program.say(f"{output} is finished already: {_counts(manifest)}; left alone")
    return manifest


def _say_plan(found: Collection) -> None:
    frames = sum(item.num_frames for item in found.decoded)
    shots = sum(len(item.shots) for item in found.decoded)
    windows = ", ".join(f"{len(v)} {k}" for k, v in found.windows.items())
    program.say(
        f"{frames} frames in {shots} shots give clips of {found.settings.num_frames} "
        f"frames: {windows}"
    )


def _write(
    found: Collection,
    codec: codecs.Codec,
    storage: dict[str, Any],
    output: str,
    identity: dict[str, Any],
    hashes: dict[str, str],
    told: Captions | None,
) -> Manifest:
    settings = found.settings
    entries, numbers = found.classes()
    fields = records.latent_fields(
        codec.spec.latent_shape(settings.num_frames, settings.height, settings.width),
        dtype=storage["latent_dtype"],
        has_label=bool(entries),
    )
    if told is not None:
        spec = told.encoder.spec
        fields |= records.text_fields(spec.length, spec.dims)
    _require_space(found, fields, output)
    with writer.Writer(
        output,
        records_per_shard=storage["records_per_shard"],
        store=storage["store"],
    ) as dataset:
        for split, record in _records(found, codec, numbers, told):
            dataset.add(split, records.pack(record, fields))
        shards = dataset.finish()
    codecs.save(codec, files.path(output) / "codec")
    manifest = Manifest(
        codec=codec.spec,
        text_encoder=None if told is None else told.encoder.spec.to_json(),
        fields=fields,
        classes=tuple(entries),
        fps=_usual_fps(found),
        sources=tuple(_source_entry(item, hashes, told) for item in found.decoded),
        shards=shards,
        settings=identity,
        store=storage["store"],
    )
    writer.commit(output, manifest)
    return manifest


def _records(
    found: Collection,
    codec: codecs.Codec,
    numbers: dict[labels.Key, int],
    told: Captions | None,
):
    """(split, record) of every window, encoded in batches, training first."""
    encode = jax.jit(lambda video: codec.encode(pixels.to_unit(video)))
    key_of = labels.KEYS[found.settings.label]
    example_id = 0
    for split, windows in found.windows.items():
        remaining = iter(windows)
        for video, count in found.batches(windows):
            for latents in np.asarray(encode(video))[:count]:
                window = next(remaining)
                key = key_of(window, found.sources)
                origin = found.sources[window.source].origin
                yield (
                    split,
                    {
                        records.LATENTS: latents,
                        "example_id": example_id,
                        **({} if key is None else {"label": numbers[key]}),
                        **({} if told is None else told.fields(origin)),
                        "source": window.source,
                        "start_frame": window.start,
                        "fps": _fps(found, window.source),
                    },
                )
                example_id += 1


def _fps(found: Collection, source: int) -> float:
    """Frames per second of a clip: the source's rate over the stride."""
    return found.decoded[source].info.fps / found.settings.stride


def _usual_fps(found: Collection) -> float:
    windows = found.windows[clips.TRAIN]
    counts = collections.Counter(_fps(found, window.source) for window in windows)
    return counts.most_common(1)[0][0]


def _source_entry(
    item: collection.Decoded, hashes: dict[str, str], told: Captions | None
) -> SourceEntry:
    source = item.source
    return SourceEntry(
        origin=source.origin,
        name=source.name,
        licence=source.licence,
        sha256=hashes[source.origin],
        fps=item.info.fps,
        width=item.info.width,
        height=item.info.height,
        frames=item.num_frames,
        shots=item.shots,
        caption=None if told is None else told.by_name[source.origin],
    )


def _require_space(found: Collection, fields: records.Fields, output: str) -> None:
    record = sum(
        int(np.prod(field.shape)) * records.DTYPES[field.dtype][0].itemsize
        for field in fields.values()
    )
    count = sum(len(windows) for windows in found.windows.values())
    # 1.2: headers of records and shards, and the codec.
    files.require_free_space(output, int(1.2 * count * record), "the dataset")


def _counts(manifest: Manifest) -> str:
    return " + ".join(f"{count} {split}" for split, count in manifest.splits.items())


if __name__ == "__main__":
    program.run(main)
