"""A codec folder: written, read back, and refused when it is not what it says."""

import numpy as np
import pytest

from dit_jax import codecs, files
from dit_jax.codecs import pca_fit, pixels
from dit_jax.errors import DataError, UserError


@pytest.fixture
def codec():
    rng = np.random.default_rng(0)
    video = rng.integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    return pca_fit.fit([video], block=(2, 4, 4), channels=5, symmetric=True)


def test_a_loaded_codec_is_the_saved_one(codec, tmp_path):
    codecs.save(codec, tmp_path / "codec")
    loaded = codecs.load(tmp_path / "codec")
    assert loaded.spec == codec.spec
    video = pixels.to_unit(np.full((1, 2, 8, 8, 3), 77, np.uint8))
    np.testing.assert_array_equal(loaded.encode(video), codec.encode(video))
    assert codec.spec.name == "pca-4x4x2-c5-symmetric"


def test_one_flipped_bit_is_found(codec, tmp_path):
    codecs.save(codec, tmp_path)
    weights = bytearray((tmp_path / codecs.WEIGHT_FILE).read_bytes())
    weights[-9] ^= 1
    (tmp_path / codecs.WEIGHT_FILE).write_bytes(bytes(weights))
    with pytest.raises(DataError, match=f"wanted {codec.spec.sha256[:12]}"):
        codecs.load(tmp_path)


def test_an_unknown_kind_is_named(codec, tmp_path):
    codecs.save(codec, tmp_path)
    spec = codec.spec.to_json() | {"kind": "pcaa"}
    files.write_json(tmp_path / codecs.SPEC_FILE, spec)
    with pytest.raises(UserError, match="did you mean 'pca'"):
        codecs.load(tmp_path)


def test_a_missing_folder_says_how_to_make_one(tmp_path):
    with pytest.raises(UserError, match="fit_codec"):
        codecs.load(tmp_path / "none")


def test_pixels_survive_the_unit_range():
    grey = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(pixels.to_uint8(pixels.to_unit(grey)), grey)
    assert pixels.to_unit(grey)[0] == -1 and pixels.to_unit(grey)[-1] == 1


def test_psnr_of_one_grey_level_is_48_db():
    a = np.full((2, 3, 4, 4, 3), 200, np.uint8)
    error = pixels.squared_error(a, a - 1)
    np.testing.assert_array_equal(error, [1, 1])
    assert pixels.psnr_db(error[0]) == pytest.approx(48.1308, abs=1e-4)
    assert pixels.psnr_db(0.0) == float("inf")
