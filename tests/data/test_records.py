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


READERS = {
    "unpack": records.unpack,
    "format": lambda data, fields: records.Format(fields).unpack(memoryview(data)),
}
"""Two ways to read a record; the second knows its header beforehand."""


@pytest.fixture(params=READERS.values(), ids=READERS)
def unpack(request):
    return request.param


@pytest.mark.parametrize("dtype", records.LATENT_DTYPES)
def test_unpack_inverts_pack(dtype, unpack):
    fields = records.latent_fields(SHAPE, dtype=dtype, has_label=True)
    found = unpack(records.pack(_record(), fields), fields)
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
def test_a_record_that_breaks_the_table_is_refused(change, message, unpack):
    data = safetensors.numpy.save(TENSORS | change)
    with pytest.raises(ValueError, match=message):
        unpack(data, FIELDS)


def test_bytes_that_are_no_record_are_refused(unpack):
    with pytest.raises(ValueError, match="not a record"):
        unpack(b"hello, I am no tensor", FIELDS)


def test_a_record_that_is_cut_or_goes_on_is_refused(unpack):
    data = records.pack(_record(), FIELDS)
    for other in (data[:-1], data + b"x", data[:100]):
        with pytest.raises(ValueError, match="not a record|bytes, wanted"):
            unpack(other, FIELDS)


def test_fields_of_text_are_read_both_ways():
    fields = FIELDS | records.text_fields(3, 5)
    texts = {"text": np.ones((3, 5)), "text_mask": [1, 1, 0], "pooled": np.arange(5)}
    data = records.pack(_record() | texts, fields)
    found = [read(data, fields) for read in READERS.values()]
    for name in fields:
        np.testing.assert_array_equal(found[0][name], found[1][name], strict=True)


def test_an_unknown_latent_dtype_is_named():
    with pytest.raises(UserError, match=r"prepare\.latent_dtype is 'float16'"):
        records.latent_fields(SHAPE, dtype="float16", has_label=False)
