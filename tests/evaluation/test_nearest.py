import numpy as np
import pytest

from dit_jax.evaluation import nearest as n


def _clips(seed, num, dtype=np.uint8):
    random = np.random.RandomState(seed)
    if dtype == np.uint8:
        return random.randint(0, 256, (num, 3, 4, 5, 3), dtype=np.uint8)
    return random.uniform(-1, 1, (num, 3, 4, 5, 3)).astype(np.float32)


def test_psnr_is_that_of_the_error():
    a = np.zeros((2, 3, 4, 5, 3), np.uint8)
    b = a.copy()
    b[1] += 51  # a fifth of the range
    assert n.psnr(a, b)[0] == np.inf
    assert n.psnr(a, b)[1] == pytest.approx(-20 * np.log10(0.2), rel=1e-6)


def test_both_value_ranges_give_the_same_psnr():
    a, b = _clips(0, 4), _clips(1, 4)
    floats = [(x / np.float32(127.5) - 1).astype(np.float32) for x in (a, b)]
    np.testing.assert_allclose(n.psnr(a, b), n.psnr(*floats), rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("block_clips", [1, 2, 100])
def test_nearest_is_the_brute_force_minimum(dtype, block_clips, monkeypatch):
    monkeypatch.setattr(n, "BLOCK_BYTES", block_clips * 4 * 3 * 4 * 5 * 3)
    samples, clips = _clips(0, 5, dtype), _clips(1, 7, dtype)
    errors = [[((s * 1.0 - c) ** 2).mean() for c in clips] for s in samples]
    found = n.nearest(samples, clips)
    np.testing.assert_array_equal(found.index, np.argmin(errors, axis=1))
    np.testing.assert_allclose(found.psnr, n.psnr(samples, clips[found.index]))


def test_copies_are_memorised_and_noise_is_not():
    clips = _clips(0, 6)
    noisy = np.clip(
        clips[:2] + np.random.RandomState(1).normal(0, 5, clips[:2].shape), 0, 255
    )
    samples = np.concatenate([noisy.astype(np.uint8), _clips(2, 2)])
    found = n.nearest(samples, clips)
    np.testing.assert_array_equal(found.index[:2], [0, 1])
    np.testing.assert_array_equal(
        n.is_memorised(found.psnr), [True, True, False, False]
    )


def test_label_accuracy_counts_agreement():
    assert n.label_accuracy(np.array([0, 1, 2, 2]), np.array([0, 1, 1, 2])) == 0.75


def test_sets_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="cannot be compared"):
        n.nearest(_clips(0, 2), _clips(0, 2)[:, :2])
