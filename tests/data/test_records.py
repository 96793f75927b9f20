"""Records: what is packed is unpacked, and nothing else passes."""

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from dit_jax.data import records
from dit_jax.errors import UserError

SHAPE = (2, 3, 4, 5)


def _record(latents=None):
    values = np.random.default_rng(0).normal(size=SHAPE)
    return {
        "latents": values if latents is None else latents,
        "example_id": 7,
        "label": 2,
        "source": 1,
        "start_frame": 40,
        "fps": 23.976,
    }


@pytest.mark.parametrize("dtype", records.LATENT_DTYPES)
def test_unpack_inverts_pack(dtype):
    fields = records.latent_fields(SHAPE, dtype=dtype, has_label=True)
    found = records.unpack(records.pack(_record(), fields), fields)
    wanted = _record()["latents"].astype(records.DTYPES[dtype][0])
    np.testing.assert_array_equal(found["latents"], wanted)
    assert found["latents"].dtype == wanted.dtype
    assert (found["example_id"], found["label"], found["start_frame"]) == (7, 2, 40)
    assert found["fps"] == np.float32(23.976)


def test_bfloat16_takes_half_the_bytes():
    full, half = (
        records.pack(_record(), records.latent_fields(SHAPE, dtype=d, has_label=True))
        for d in ("float32", "bfloat16")
    )
    assert len(full) - len(half) == pytest.approx(2 * np.prod(SHAPE), abs=16)


FIELDS = records.latent_fields(SHAPE, dtype="float32", has_label=True)
TENSORS = {
    "latents": np.zeros(SHAPE, np.float32),
    **{n: np.zeros((), np.int32) for n in ("example_id", "label", "source")},
    "start_frame": np.zeros((), np.int32),
    "fps": np.zeros((), np.float32),
}
WRONG = {
    "shape": ({"latents": np.zeros((2, 3, 4, 6), np.float32)}, "latents of"),
    "dtype": ({"latents": np.zeros(SHAPE, ml_dtypes.bfloat16)}, "BF16.*wanted.*F32"),
    "nan": ({"latents": np.full(SHAPE, np.nan, np.float32)}, "not finite"),
    "field": ({"caption": np.zeros(3, np.uint8)}, "fields.*caption"),
}


@pytest.mark.parametrize("change, message", WRONG.values(), ids=WRONG)
def test_a_record_that_breaks_the_table_is_refused(change, message):
    data = safetensors.numpy.save(TENSORS | change)
    with pytest.raises(ValueError, match=message):
        records.unpack(data, FIELDS)


def test_bytes_that_are_no_record_are_refused():
    with pytest.raises(ValueError, match="not a record"):
        records.unpack(b"hello, I am no tensor", FIELDS)


def test_an_unknown_latent_dtype_is_named():
    with pytest.raises(UserError, match=r"prepare\.latent_dtype is 'float16'"):
        records.latent_fields(SHAPE, dtype="float16", has_label=False)
