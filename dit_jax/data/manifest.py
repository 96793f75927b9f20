"""`manifest.json`: what a latent dataset holds. It is written last, so a folder with a
manifest is a finished dataset."""

import dataclasses
import hashlib
import json
from typing import Any

from dit_jax import files
from dit_jax.codec_spec import CodecSpec
from dit_jax.data.records import DTYPES, LATENTS, Field
from dit_jax.data.sources.labels import ClassEntry
from dit_jax.errors import DataError

MANIFEST = "manifest.json"
FORMAT_VERSION = 1
FIRST_STORE = "array_record"  # of manifests that name none
REMEDY = "make it anew with python -m dit_jax.prepare"


@dataclasses.dataclass(frozen=True)
class Shard:
    """One file (or object) of records of a split, `file` by its name in the folder."""

    file: str
    split: str
    records: int
    bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class SourceEntry:
    """A video that clips were cut from, enough to find and recognise it again.

    caption: what was encoded for its clips; None where the dataset has no text."""

    origin: str
    name: str
    licence: str
    sha256: str
    fps: float
    width: int
    height: int
    frames: int
    shots: tuple[tuple[int, int], ...]
    caption: str | None = None

    def to_json(self) -> dict[str, Any]:
        value = dataclasses.asdict(self)
        return value if self.caption is not None else _without(value, "caption")


@dataclasses.dataclass(frozen=True)
class Manifest:
    """fps: of most clips (records have their own). fields: of every record. settings:
    all that decided the content; the same settings make the same dataset.
    text_encoder: of the records' text, None where they have none. store: what the
    shards are."""

    codec: CodecSpec
    text_encoder: dict[str, Any] | None
    fields: dict[str, Field]
    classes: tuple[ClassEntry, ...]
    fps: float
    sources: tuple[SourceEntry, ...]
    shards: tuple[Shard, ...]
    settings: dict[str, Any]
    store: str = FIRST_STORE

    @property
    def latent_shape(self) -> tuple[int, int, int, int]:
        t, h, w, c = self.fields[LATENTS].shape
        return t, h, w, c

    @property
    def text_shape(self) -> tuple[int, int] | None:
        """(tokens, dims) of a record's text, None where there is none."""
        if self.text_encoder is None:
            return None
        length, dims = self.fields["text"].shape
        return length, dims

    @property
    def splits(self) -> dict[str, int]:
        """Records by split; a split without records is not there."""
        names = dict.fromkeys(shard.split for shard in self.shards)
        return {
            name: sum(shard.records for shard in self.shards if shard.split == name)
            for name in names
        }

    @property
    def fingerprint(self) -> str:
        """sha256 of all content: two datasets of one fingerprint are the same."""
        return digest(self._content())

    def to_json(self) -> dict[str, Any]:
        return self._content() | {"fingerprint": self.fingerprint}

    def _content(self) -> dict[str, Any]:
        latents = self.fields[LATENTS].to_json()
        # Left out where it says nothing new: so old datasets keep their fingerprints.
        store = {} if self.store == FIRST_STORE else {"store": self.store}
        return store | {
            "format_version": FORMAT_VERSION,
            "codec": self.codec.to_json(),
            "text_encoder": self.text_encoder,
            "latent": latents | {"layout": "THWC", "stored": "raw"},
            "fields": {name: field.to_json() for name, field in self.fields.items()},
            "classes": [entry.to_json() for entry in self.classes],
            "fps": self.fps,
            "sources": [source.to_json() for source in self.sources],
            "splits": self.splits,
            "shards": [dataclasses.asdict(shard) for shard in self.shards],
            "settings": self.settings,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Manifest":
        return cls(
            codec=CodecSpec.from_json(value["codec"]),
            text_encoder=value["text_encoder"],
            fields={k: Field.from_json(v) for k, v in value["fields"].items()},
            classes=tuple(ClassEntry.from_json(entry) for entry in value["classes"]),
            fps=value["fps"],
            sources=tuple(_source_entry(entry) for entry in value["sources"]),
            shards=tuple(Shard(**shard) for shard in value["shards"]),
            settings=value["settings"],
            store=value.get("store", FIRST_STORE),
        )


def exists(folder: files.PathLike) -> bool:
    return files.exists(files.path(folder) / MANIFEST)


def write(folder: files.PathLike, manifest: Manifest) -> None:
    files.write_json(files.path(folder) / MANIFEST, manifest.to_json())


def read(folder: files.PathLike) -> Manifest:
    """The manifest of a dataset folder. UserError when there is none, DataError when
    it is of another version or does not agree with its own fingerprint."""
    file = files.path(folder) / MANIFEST
    files.require(folder, "dataset", "make it with python -m dit_jax.prepare")
    files.require(file, "manifest", f"the dataset is unfinished or none, {REMEDY}")
    value = files.read_json(file)
    version = value.get("format_version") if isinstance(value, dict) else None
    if version != FORMAT_VERSION:
        raise DataError(
            f"{file} has format_version {version}, wanted {FORMAT_VERSION}; {REMEDY}"
        )
    try:
        manifest = Manifest.from_json(value)
        found = manifest.fingerprint
        unknown = {f.dtype for f in manifest.fields.values()} - DTYPES.keys()
        if unknown:
            raise ValueError(f"fields of dtype {sorted(unknown)}")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{file} is not a manifest ({error}); {REMEDY}") from error
    if found != value.get("fingerprint"):
        raise DataError(
            f"{file} has fingerprint {str(value.get('fingerprint'))[:12]}, wanted "
            f"{found[:12]} from its content; it was edited, {REMEDY}"
        )
    return manifest


def digest(value: Any) -> str:
    """sha256 of JSON values in one canonical spelling."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _source_entry(value: dict[str, Any]) -> SourceEntry:
    shots = tuple((first, end) for first, end in value["shots"])
    return SourceEntry(**(value | {"shots": shots}))


def _without(value: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: part for key, part in value.items() if key != name}
