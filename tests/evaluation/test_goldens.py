import numpy as np
import pytest

from dit_jax.evaluation.features import Extractor
from dit_jax.evaluation.goldens import CASES, random_clips


def test_clips_drawn_one_by_one_are_the_whole_draw():
    whole = np.random.RandomState(1).rand(5, 2, 3, 4, 3).astype(np.float32)
    np.testing.assert_array_equal(
        np.stack(list(random_clips(1, 5, (2, 3, 4, 3)))), whole
    )


@pytest.mark.slow
def test_constant_videos_reproduce_the_published_number():
    extractor = Extractor()
    for golden in CASES["B"]:
        found = golden.measure(extractor, lambda *_: None)
        assert found == pytest.approx(golden.wanted, abs=golden.tolerance), golden.name


@pytest.mark.slow
def test_random_videos_reproduce_the_published_number():
    (golden,) = CASES["A"]
    found = golden.measure(Extractor(), lambda *_: None)
    assert found == pytest.approx(golden.wanted, abs=golden.tolerance)
