"""Pixels to latents and back. `codecs.load(folder)` reads any kind of codec."""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Array, Float

from dit_jax import files
from dit_jax.codec_spec import CodecSpec
from dit_jax.codecs.pca import PcaCodec
from dit_jax.errors import DataError, choose

SPEC_FILE = "codec.json"
WEIGHT_FILE = "codec.safetensors"


@runtime_checkable
class Codec(Protocol):
    """What every codec offers. Pure functions of their argument; jit them freely."""

    @property
    def spec(self) -> CodecSpec: ...

    def encode(
        self, video: Float[Array | np.ndarray, "B F Hp Wp 3"]
    ) -> Float[Array, "B T H W C"]:
        """Raw latents, float32, of videos in [-1, 1]."""
        ...

    def decode(
        self, latents: Float[Array | np.ndarray, "B T H W C"]
    ) -> Float[Array, "B F Hp Wp 3"]:
        """Videos of raw latents, float32, near [-1, 1] and not clipped to it."""
        ...

    def weight_bytes(self) -> bytes:
        """The content of the weight file, whose sha256 is `spec.sha256`."""
        ...


KINDS = {"pca": PcaCodec.from_bytes}
"""kind -> reader `(spec, content of the weight file) -> Codec`."""


def save(codec: Codec, folder: files.PathLike) -> None:
    """Writes `codec.safetensors`, then `codec.json`, which makes the folder valid."""
    files.write_bytes(files.path(folder) / WEIGHT_FILE, codec.weight_bytes())
    files.write_json(files.path(folder) / SPEC_FILE, codec.spec.to_json())


def load(folder: files.PathLike) -> Codec:
    """The codec of a folder. DataError when the weights are not those of the spec."""
    remedy = "fit one with python -m dit_jax.fit_codec"
    files.require(folder, "codec folder", remedy)
    spec_file = files.require(files.path(folder) / SPEC_FILE, "codec file", remedy)
    weight_file = files.require(files.path(folder) / WEIGHT_FILE, "codec file", remedy)
    spec = CodecSpec.from_json(files.read_json(spec_file))
    found = files.sha256(weight_file)
    if found != spec.sha256:
        raise DataError(
            f"{weight_file} has sha256 {found[:12]}, wanted {spec.sha256[:12]}; it is "
            "corrupt or of another codec, copy or fit it anew"
        )
    return choose(KINDS, spec.kind, "codec kind")(spec, files.read_bytes(weight_file))
