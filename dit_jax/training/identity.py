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
    "prepare.",
    "codec.",
    "data.path",
    "data.num_threads",
    "data.prefetch",
    "validation.every_steps",
    "train.num_steps",
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
    stored = config_lib.read_snapshot(workdir)["config"]
    wanted = config_lib.override(stored, overrides) if given is None else given()
    wanted = assembly.resolve(wanted)
    changed = [
        f"{key} was {old!r}, now {new!r}"
        for key, (old, new) in config_lib.differences(stored, wanted).items()
        if not key.startswith(FREE)
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
        old = config_lib.read_snapshot(workdir)["dataset"]["fingerprint"]
        if old != manifest.fingerprint:
            raise UserError(
                f"{workdir} was trained on dataset {old[:12]}, but {data} is "
                f"{manifest.fingerprint[:12]}; give the same data or another --workdir"
            )
    return codec


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
    }
    identity = json.dumps([config.to_dict(), manifest.fingerprint], sort_keys=True)
    hosts.require_same("config or data", zlib.crc32(identity.encode()))
    if hosts.is_first():
        starts: list[dict[str, Any]] = []
        if step and config_lib.has_snapshot(workdir):
            starts = config_lib.read_snapshot(workdir)["starts"]
        starts.append({"step": step, "versions": config_lib.versions()})
        codecs.save(codec, files.path(workdir) / CODEC_FOLDER)
        config_lib.write_snapshot(workdir, config, dataset=dataset, starts=starts)
    hosts.wait("snapshot written")


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
