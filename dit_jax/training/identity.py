"""What makes a run that run: its config, its data, and one writer at a time."""

import fcntl
import json
import os
import zlib
from collections.abc import Callable, Mapping
from typing import IO, Any

from ml_collections import ConfigDict as Config

from dit_jax import checkpoints, codecs, files
from dit_jax import config as config_lib
from dit_jax.data.manifest import Manifest
from dit_jax.data.sources.labels import ClassEntry
from dit_jax.errors import DataError, UserError
from dit_jax.inference.run_folder import CODEC_FOLDER
from dit_jax.parallel import hosts
from dit_jax.training import assembly

# What may differ between two starts of one run.
FREE = (
    "mesh.",
    "checkpoint.",
    "log.",
    "sample.",
    "plan.",
    "prepare.",
    "codec.",
    "text.",
    "data.path",
    "data.num_threads",
    "data.prefetch",
    "validation.every_steps",
    "train.num_steps",
)


# What may differ too as long as nothing was trained: converted weights.
FREE_BEFORE_DATA = (
    "data.",
    "diffusion.",
    "optimizer.",
    "seed",
    "train.",
    "validation.",
)


def settings(
    workdir: str, given: Callable[[], Config] | None, overrides: Mapping[str, str]
) -> Config:
    """The resolved config: the given one, or that of the run with overrides on top.

    given: loads the config that the user named, or None. A run folder without a
    checkpoint has nothing to be true to and starts anew.
    """
    if not (config_lib.has_snapshot(workdir) and checkpoints.has_any(workdir)):
        if given is None and config_lib.has_snapshot(workdir):
            stored = config_lib.read_snapshot(workdir)["config"]
            return assembly.resolve(config_lib.override(stored, overrides))
        if given is None:
            raise UserError(
                "no config is given; add --config=configs/NAME.py[:ARGUMENT]"
            )
        return assembly.resolve(given())
    snapshot = config_lib.read_snapshot(workdir)
    stored = snapshot["config"]
    wanted = config_lib.override(stored, overrides) if given is None else given()
    wanted = assembly.resolve(wanted)
    has_data = snapshot["dataset"]["fingerprint"] is not None
    free = FREE if has_data else FREE + FREE_BEFORE_DATA
    changed = [
        f"{key} was {old!r}, now {new!r}"
        for key, (old, new) in config_lib.differences(stored, wanted).items()
        if not key.startswith(free)
    ]
    if changed:
        raise UserError(
            f"{workdir} holds another run ({'; '.join(changed[:5])}); give another "
            "--workdir, or leave these values as they were"
        )
    return wanted


def check_data(workdir: str, data: str, manifest: Manifest) -> codecs.Codec:
    """The dataset's codec; refuses data that the run was not trained on."""
    codec = codecs.load(files.path(data) / CODEC_FOLDER)
    if codec.spec != manifest.codec:
        raise DataError(
            f"{data}/{CODEC_FOLDER} is {codec.spec.name} {codec.spec.sha256[:12]}, but "
            f"the records were made by {manifest.codec.name} "
            f"{manifest.codec.sha256[:12]}; copy the right codec there or prepare anew"
        )
    if checkpoints.has_any(workdir):
        run = config_lib.read_snapshot(workdir)["dataset"]
        old = run["fingerprint"]
        if old is None:
            _check_first_data(workdir, run, data, manifest)
        elif old != manifest.fingerprint:
            raise UserError(
                f"{workdir} was trained on dataset {old[:12]}, but {data} is "
                f"{manifest.fingerprint[:12]}; give the same data or another --workdir"
            )
    return codec


def _check_first_data(
    workdir: str, run: Mapping[str, Any], data: str, manifest: Manifest
) -> None:
    """Refuses data that do not fit converted weights, which have seen none."""
    latents, num_classes = tuple(run["latent_shape"]), len(run["classes"])
    if latents != manifest.latent_shape:
        raise UserError(
            f"the model of {workdir} has latents {'x'.join(map(str, latents))}, but "
            f"{data} has {'x'.join(map(str, manifest.latent_shape))}; prepare clips of "
            "that size with a codec of as many channels"
        )
    if num_classes != len(manifest.classes):
        raise UserError(
            f"the model of {workdir} has {num_classes} classes, but {data} has "
            f"{len(manifest.classes)}; prepare it with as many, or start a model of "
            "that number from these weights with train.init_from and train.init_allow"
        )
    if run["codec"] is not None and run["codec"]["sha256"] != manifest.codec.sha256:
        name, sha256 = run["codec"]["name"], run["codec"]["sha256"]
        raise UserError(
            f"{workdir} has codec {name} {sha256[:12]}, but {data} was made by "
            f"{manifest.codec.name} {manifest.codec.sha256[:12]}; prepare it with "
            f"codec.path={workdir}/{CODEC_FOLDER}"
        )


def write(
    workdir: str, config: Config, manifest: Manifest, codec: codecs.Codec, step: int
) -> None:
    """The snapshot and the codec, once all that can be refused has been checked.

    `starts` tells at which step and with which versions the run was started.
    """
    dataset = {
        "latent_shape": manifest.latent_shape,
        "classes": [entry.to_json() for entry in manifest.classes],
        "fps": manifest.fps,
        "fingerprint": manifest.fingerprint,
        "codec": manifest.codec.to_json(),
        "text_encoder": manifest.text_encoder,
    }
    same = json.dumps([config.to_dict(), manifest.fingerprint], sort_keys=True)
    hosts.require_same("config or data", zlib.crc32(same.encode()))
    if hosts.is_first():
        starts: list[dict[str, Any]] = []
        if checkpoints.has_any(workdir) and config_lib.has_snapshot(workdir):
            starts = config_lib.read_snapshot(workdir)["starts"]
        starts.append({"step": step, "versions": config_lib.versions()})
        codecs.save(codec, files.path(workdir) / CODEC_FOLDER)
        config_lib.write_snapshot(workdir, config, dataset=dataset, starts=starts)
    hosts.wait("snapshot written")


def write_converted(
    workdir: str,
    config: Config,
    *,
    latent_shape: tuple[int, ...],
    num_classes: int,
    codec: codecs.Codec | None,
    fps: float,
    origin: Mapping[str, Any],
) -> None:
    """The snapshot of weights that came from elsewhere and have seen no dataset.

    Classes have numbers for names. origin: what was converted, kept in `starts`.
    """
    entries = [ClassEntry(str(i), None, None, None) for i in range(num_classes)]
    dataset = {
        "latent_shape": latent_shape,
        "classes": [entry.to_json() for entry in entries],
        "fps": fps,
        "fingerprint": None,
        "codec": None if codec is None else codec.spec.to_json(),
        "text_encoder": None,
    }
    start = {"step": 0, "versions": config_lib.versions(), "converted": dict(origin)}
    if codec is not None:
        codecs.save(codec, files.path(workdir) / CODEC_FOLDER)
    config_lib.write_snapshot(workdir, config, dataset=dataset, starts=[start])


def lock(workdir: str) -> IO[str] | None:
    """Held while it is open: a second training in one local folder is refused."""
    folder = files.make_folder(workdir)
    if not hosts.is_first() or not files.is_local(workdir):
        return None
    try:
        file = open(os.path.join(folder, ".lock"), "w")  # noqa: SIM115
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError(
            f"another training is running in {workdir}; stop it or give another "
            "--workdir"
        ) from error
    except OSError as error:
        raise files.storage_error(error, workdir) from error
    return file
