"""Laws of normalising latents."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax.codec_spec import CodecSpec
from dit_jax.errors import DataError, UserError

SPEC = CodecSpec(
    name="pca-4x4x2-c3",
    kind="pca",
    compression=(2, 4, 4),
    channels=3,
    mean=(0.5, -1.0, 0.0),
    std=(4.0, 1.0, 0.25),
    scale=(2.0, 1.0, 0.5),
    sha256="ab" * 32,
    flip_sign=(1, -1, 1),
)


@pytest.mark.parametrize("xp", [np, jnp], ids=["numpy", "jax"])
def test_denormalize_inverts_normalize(xp):
    raw = xp.asarray(np.random.default_rng(0).normal(size=(2, 1, 2, 2, 3)), np.float32)
    found = SPEC.normalize(raw)
    assert type(found) is type(raw) and found.dtype == np.float32
    np.testing.assert_allclose(SPEC.denormalize(found), raw, rtol=1e-6, atol=1e-6)


def test_normalize_subtracts_the_mean_and_divides_by_the_scale_of_each_channel():
    raw = np.array([[0.5, -1.0, 0.0], [2.5, 0.0, 0.5]], np.float32)
    np.testing.assert_array_equal(SPEC.normalize(raw), [[0, 0, 0], [1, 1, 1]])


def test_bfloat16_records_are_normalized_in_float32():
    raw = jnp.full((1, 3), 1.0078125, jnp.bfloat16)
    assert SPEC.normalize(raw).dtype == jnp.float32
    assert SPEC.normalize(raw)[0, 1] == np.float32(2.0078125)


def test_a_spec_survives_json():
    assert CodecSpec.from_json(json.loads(json.dumps(SPEC.to_json()))) == SPEC
    plain = dataclasses.replace(SPEC, flip_sign=None)
    assert CodecSpec.from_json(json.loads(json.dumps(plain.to_json()))) == plain


def test_latent_shape_names_the_side_that_a_block_does_not_divide():
    assert SPEC.latent_shape(8, 16, 12) == (4, 4, 3, 3)
    with pytest.raises(UserError, match="width is 10, not a multiple of .* 4"):
        SPEC.latent_shape(8, 16, 10)


def test_an_edited_spec_is_bad_data():
    value = SPEC.to_json()
    with pytest.raises(DataError, match="2 values of mean for 3"):
        CodecSpec.from_json(value | {"mean": [0.0, 0.0]})
    for scale in (0.0, float("inf"), float("nan")):
        with pytest.raises(DataError, match="not positive and finite"):
            CodecSpec.from_json(value | {"scale": [scale, 1.0, 1.0]})
    del value["std"]
    with pytest.raises(DataError, match="wanted"):
        CodecSpec.from_json(value)
