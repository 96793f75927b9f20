import numpy as np
import pytest

from dit_jax.evaluation.features import Extractor, require_clip


@pytest.fixture(scope="module")
def extractor(small_weights):
    """A network of known output: I3D takes seconds to compile and is tested apart."""
    found = Extractor(small_weights, batch_size=4)
    found.batches = []

    def logits(inputs):
        assert len(inputs) == 4
        found.batches.append(len(inputs))
        return np.repeat(np.asarray(inputs).mean(axis=(1, 2, 3, 4))[:, None], 400, 1)

    found.logits = logits
    return found


def _clips(seed, num, frames=9):
    random = np.random.RandomState(seed)
    return random.randint(0, 256, (num, frames, 6, 6, 3), dtype=np.uint8)


@pytest.mark.parametrize("num", [1, 4, 7])
def test_one_row_a_clip_in_order_whatever_the_batches(extractor, num):
    clips = _clips(num, num)
    wanted = np.stack([extractor.features(clips[i : i + 1])[0] for i in range(num)])
    extractor._known.clear()
    np.testing.assert_array_equal(extractor.features(iter(clips)), wanted)
    assert len(np.unique(wanted[:, 0])) == num


def test_a_clip_is_computed_once(extractor):
    clips = _clips(10, 8)
    first = extractor.feature_set(clips)
    extractor.batches.clear()
    again = extractor.feature_set(clips[::-1])
    assert not extractor.batches
    np.testing.assert_array_equal(again.values, first.values[::-1])
    repeated = extractor.feature_set(np.repeat(_clips(11, 2), 5, axis=0))
    assert extractor.batches == [4]
    assert repeated.num_distinct == 2
    assert len(repeated.values) == 10


def test_the_list_hash_sees_content_and_order(extractor):
    clips = _clips(12, 3)
    found = {extractor.feature_set(x).sha256 for x in (clips, clips[::-1], clips[:2])}
    assert len(found) == 3
    assert extractor.feature_set(list(clips)).sha256 in found


def test_frozen_clips_are_counted(extractor):
    clips = _clips(13, 3)
    clips[1] = clips[1, :1]
    assert extractor.feature_set(clips).num_frozen == 1


def test_progress_ends_at_the_number_of_clips(extractor):
    seen = []
    extractor.features(_clips(14, 6), seen.append)
    assert seen == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    "clip, reason",
    [
        (np.zeros((8, 4, 4, 3), np.uint8), "8 frames but I3D needs 9"),
        (np.zeros((9, 4, 4, 3), np.float32), "float32 .* wanted uint8"),
        (np.zeros((9, 4, 4, 1), np.uint8), r"wanted uint8 \[F, H, W, 3\]"),
    ],
)
def test_clips_that_cannot_be_seen_are_refused(clip, reason):
    with pytest.raises(ValueError, match=reason):
        require_clip(clip)


def test_a_set_of_no_clips_is_refused(extractor):
    with pytest.raises(ValueError, match="no clips has no features"):
        extractor.features([])


def test_clips_of_two_sizes_are_refused(extractor):
    with pytest.raises(ValueError, match="are in one set"):
        extractor.features([*_clips(15, 1), *_clips(15, 1, frames=10)])
