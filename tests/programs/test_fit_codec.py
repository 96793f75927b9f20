"""The codec program, and the quality it reaches on footage it has not seen."""

import re

import pytest

from configs import common
from dit_jax import codecs, fit_codec
from dit_jax import config as config_lib
from dit_jax.data.sources import packaged
from dit_jax.errors import UserError


def _config(**changes):
    return config_lib.override(common.get_config().lock(), changes)


@pytest.mark.slow
def test_48_channels_keep_29_db_on_footage_left_out_of_the_fit(tmp_path, capsys):
    for clip in packaged.CLIPS.values():
        pytest.importorskip(clip.module)
    sources = ",".join(packaged.PREFIX + name for name in packaged.CLIPS)
    changes = {
        "prepare.sources": sources,
        "prepare.exclude": "packaged:bigbuckbunny",
        "prepare.height": "128",
        "prepare.width": "128",
    }
    codec = fit_codec.fit(_config(**changes), str(tmp_path / "codec"))
    assert codec.spec.name == "pca-8x8x4-c48"
    assert codecs.load(tmp_path / "codec").spec == codec.spec
    text = capsys.readouterr().out
    found = re.search(r"bigbuckbunny \(left out of the fit.*: ([\d.]+) dB", text)
    assert float(found.group(1)) >= 29.0


def test_a_codec_is_never_overwritten(tmp_path):
    (tmp_path / codecs.SPEC_FILE).write_text("{}")
    with pytest.raises(UserError, match="already holds a codec"):
        fit_codec.fit(_config(), str(tmp_path))


def test_a_codec_that_is_given_is_not_fitted(tmp_path):
    with pytest.raises(UserError, match=r"codec\.path is set"):
        fit_codec.fit(_config(**{"codec.path": "x"}), str(tmp_path))
