"""Fits the linear codec on videos and measures what it loses.

python -m dit_jax.fit_codec --config configs/demo.py --output runs/codec

Fits on the training part of `prepare.sources` without `prepare.exclude`, writes
codec.safetensors and codec.json, and prints the PSNR of every source on frames that
the fit has not seen.
"""

import tempfile

from dit_jax import codecs, files, program
from dit_jax import config as config_lib
from dit_jax.codecs import pca_fit, quality
from dit_jax.data.sources import collection
from dit_jax.data.sources.clips import ClipSettings
from dit_jax.errors import UserError


def main(arguments: list[str]) -> None:
    program.refuse_words(arguments)
    fit(program.config(), program.require_flag("output"))


def fit(config: config_lib.ConfigDict, output: str) -> codecs.Codec:
    """Fits, measures and writes the codec of a config."""
    settings, _ = ClipSettings.from_section(config_lib.section(config, "prepare"))
    codec_settings = config_lib.section(config, "codec")
    if codec_settings.pop("path") is not None:
        raise UserError("codec.path is set, so there is nothing to fit; leave it out")
    settings.require_blocks(codec_settings["block"])
    pca_fit.require_settings(**codec_settings)
    if (files.path(output) / codecs.SPEC_FILE).exists():
        raise UserError(f"{output!r} already holds a codec; choose another --output")
    sources, excluded = collection.find_sources(settings)
    program.say(
        f"fits a codec on {len(sources) - len(excluded)} of {len(sources)} videos at "
        f"{settings.height}x{settings.width}"
    )
    with tempfile.TemporaryDirectory(prefix="dit_jax-") as scratch:
        found = collection.collect(sources, settings, scratch, program.say)
        codec = pca_fit.fit(found.fitting_videos(excluded), **codec_settings)
        for name, windows in found.unseen(excluded):
            if windows:
                db = quality.psnr_db(codec, found.batches(windows))
                program.say(f"codec on {name}: {db:.2f} dB")
    codecs.save(codec, output)
    program.say(f"wrote {output}: {codec.spec.name}, sha256 {codec.spec.sha256[:12]}")
    return codec


if __name__ == "__main__":
    program.run(main)
