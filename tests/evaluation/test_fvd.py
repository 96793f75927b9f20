import dataclasses
import json

import numpy as np
import pytest

from dit_jax.errors import UserError
from dit_jax.evaluation import features as features_lib
from dit_jax.evaluation.features import Extractor
from dit_jax.evaluation.frechet import frechet_distance_of
from dit_jax.evaluation.fvd import fvd, fvd_from_features
from dit_jax.evaluation.protocol import differences
from dit_jax.evaluation.videos import open_videos


@pytest.fixture(scope="module")
def extractor(small_weights):
    """Random projections in place of I3D: fast, and different for every clip."""
    found = Extractor(small_weights, form="folded")
    weights = np.random.RandomState(0).randn(3 * 9, 400) * 10

    def logits(inputs):
        colours = np.asarray(inputs)[:, :9].mean(axis=(2, 3)).reshape(len(inputs), -1)
        return (colours @ weights).astype(np.float32)

    found.logits = logits
    return found


def _clips(seed, num, size=6, frames=9):
    random = np.random.RandomState(seed)
    return random.randint(0, 256, (num, frames, size, size, 3), dtype=np.uint8)


def test_it_is_the_frechet_distance_of_the_features(extractor):
    real, fake = _clips(0, 12), _clips(1, 10) // 2
    result = fvd(real, fake, extractor=extractor, fps=8.0)
    wanted = frechet_distance_of(extractor.features(real), extractor.features(fake))
    scores = result.scores
    assert scores.fvd == pytest.approx(wanted)
    assert scores.fvd == pytest.approx(scores.mean_term + scores.covariance_term)
    assert scores.standard_error > 0
    assert scores.fvd_inf is None
    assert fvd(real, real, extractor=extractor).scores.fvd < 1e-9 * wanted


def test_the_result_is_json_with_its_protocol(extractor, small_weights):
    result = fvd(_clips(0, 12), _clips(1, 10), extractor=extractor, fps=8.0)
    record = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert record["metric"] == "fvd@12-vs-10"
    assert record["value"] == record["scores"]["fvd"]
    assert record["protocol"]["weights_sha256"] == small_weights.sha256
    real = record["protocol"]["real"]
    assert (real["num_clips"], real["frames"], real["fps"]) == (12, 9, 8.0)
    assert {"jax", "numpy", "python"} <= set(record["versions"])
    assert result.protocol.metric in result.summary()


def test_a_standard_error_that_does_not_exist_is_null(extractor):
    record = fvd(_clips(0, 3), _clips(1, 3), extractor=extractor).to_dict()
    assert record["scores"]["standard_error"] is None


def test_fvd_inf_needs_four_times_full_rank():
    random = np.random.RandomState(0)
    a, b = random.randn(2, 84, 20)
    assert fvd_from_features(a, b).fvd_inf is not None
    assert fvd_from_features(a[:83], b[:83]).fvd_inf is None


def test_warnings_say_what_to_doubt(extractor):
    real, fake = _clips(0, 6), _clips(1, 6)
    fake[0], fake[1], fake[2] = real[0], fake[3], fake[2, :1]
    text = " / ".join(fvd(real, fake, extractor=extractor).warnings)
    for part in (
        "6 clips give a rank-deficient",
        "only 5 of 6 fake clips are distinct",
        "1 fake clips do not move",
        "1 clips are in both sets",
        "frame rate of the real clips is unknown",
    ):
        assert part in text
    assert "squashed" not in text
    assert "lossy" not in text


def _saved(folder, name, clips, **fields):
    np.savez(folder / f"{name}.npz", videos=clips, **fields)
    return open_videos(folder / f"{name}.npz")


def test_sets_that_do_not_compare_are_refused(extractor, tmp_path):
    eight = _saved(tmp_path, "eight", _clips(0, 3), fps=8)
    for name, clips, fps, reason in [
        ("twelve", _clips(0, 3), 12, "8 fps but .* 12; bring both to one rate"),
        ("large", _clips(0, 3, size=7), 8, "9 frames of 6x6 but .* 9 frames of 7x7"),
        ("long", _clips(0, 3, frames=10), 8, "use --num_frames"),
        ("single", _clips(0, 1), 8, "1 clips; a distance needs at least 2"),
    ]:
        with pytest.raises(UserError, match=reason):
            fvd(eight, _saved(tmp_path, name, clips, fps=fps), extractor=extractor)
    with pytest.raises(UserError, match="8 frames but I3D needs 9"):
        fvd(_clips(0, 3, frames=8), _clips(1, 3, frames=8), extractor=extractor)


def test_one_sided_loss_is_a_warning(extractor, tmp_path):
    real = _saved(tmp_path, "real", _clips(0, 3), fps=8)
    lossy = dataclasses.replace(real, is_lossy=True)
    assert "lossy" in " ".join(fvd(real, lossy, extractor=extractor).warnings)
    assert "lossy" not in " ".join(fvd(lossy, lossy, extractor=extractor).warnings)


def test_without_the_weights_there_is_no_number(monkeypatch):
    def missing(explicit=None):
        raise UserError("run `make venv`")

    monkeypatch.setattr(features_lib, "load_weights", missing)
    with pytest.raises(UserError, match="make venv"):
        fvd(_clips(0, 3), _clips(1, 3))


def test_protocols_differ_in_what_matters_only(extractor):
    real, other = _clips(0, 5), _clips(2, 5)
    records = [
        fvd(real, fake, extractor=extractor, seed=seed, ddof=ddof).protocol.to_dict()
        for fake, seed, ddof in [(_clips(1, 5), 0, 1), (other, 1, 1), (other, 0, 0)]
    ]
    assert differences(records[0], records[1]) == []
    assert differences(records[0], records[2]) == ["ddof: 1, 0"]
    elsewhere = fvd(other, real, extractor=extractor).protocol.to_dict()
    (difference,) = differences(records[0], elsewhere)
    assert difference.startswith("real.clips_sha256")
    del elsewhere["resize"]
    assert any("missing" in text for text in differences(records[0], elsewhere))
