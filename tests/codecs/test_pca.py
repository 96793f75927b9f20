"""Laws of the linear codec: principal components, exact at full rank, flips."""

import einops
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax.codecs import pca_fit, pixels
from dit_jax.errors import DataError, UserError

BLOCK = (2, 4, 4)
FULL = 2 * 4 * 4 * 3


def _videos(count=4, frames=6, height=16, width=24):
    """Smooth colours that move, with noise: blocks have a few strong directions."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    for _ in range(count):
        a, b, speed = rng.uniform(0.1, 0.6, 3)
        clip = [
            [np.sin(a * x + b * y + speed * f + c) for c in range(3)]
            for f in range(frames)
        ]
        clip = (
            127 + 90 * np.asarray(clip) + rng.normal(0, 8, (frames, 3, height, width))
        )
        yield np.clip(clip, 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)


def _fit(**changes):
    settings = {"block": BLOCK, "channels": 12} | changes
    return pca_fit.fit(_videos(), **settings)


def _batch():
    return pixels.to_unit(np.stack(list(_videos())))


def _blocks():
    pattern = "B (T t) (H h) (W w) c -> (B T H W) (t h w c)"
    t, h, w = BLOCK
    blocks = einops.rearrange(np.asarray(_batch()), pattern, t=t, h=h, w=w)
    return blocks.astype(np.float64)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("block", [BLOCK, (1, 2, 3), (4, 8, 8)])
def test_full_rank_is_lossless(block, symmetric):
    rng = np.random.default_rng(1)
    video = rng.integers(0, 256, (2, 8, 16, 24, 3), dtype=np.uint8)
    codec = pca_fit.fit(
        video, block=block, channels=int(np.prod(block)) * 3, symmetric=symmetric
    )
    unit = pixels.to_unit(video)
    back = codec.decode(codec.encode(unit))
    assert jnp.abs(back - unit).max() <= 1e-5


def test_the_error_is_the_sum_of_the_eigenvalues_left_out():
    eigenvalues = np.linalg.eigvalsh(np.cov(_blocks().T, bias=True))[::-1]
    for channels in (1, 12, 40):
        codec = _fit(channels=channels)
        error = codec.decode(codec.encode(_batch())) - _batch()
        found = jnp.square(error).mean() * FULL
        np.testing.assert_allclose(found, eigenvalues[channels:].sum(), rtol=1e-3)


def test_the_basis_is_that_of_a_dense_svd():
    blocks = _blocks()
    _, _, rows = np.linalg.svd(blocks - blocks.mean(axis=0), full_matrices=False)
    codec = _fit()
    latents = np.asarray(codec.encode(_batch())).reshape(-1, 12)
    wanted = (blocks - blocks.mean(axis=0)) @ rows[:12].T
    np.testing.assert_allclose(np.abs(latents), np.abs(wanted), atol=1e-3)


def test_statistics_are_those_of_the_latents_of_the_fitting_set():
    codec = _fit(scale_power=1.0)
    latents = np.asarray(codec.encode(_batch())).reshape(-1, 12)
    np.testing.assert_allclose(latents.mean(axis=0), codec.spec.mean, atol=1e-4)
    np.testing.assert_allclose(latents.std(axis=0), codec.spec.std, rtol=1e-4)
    normal = codec.spec.normalize(latents)
    np.testing.assert_allclose(normal.std(axis=0), 1, rtol=1e-4)


def test_scale_is_a_power_of_std():
    codec = _fit(scale_power=0.5)
    np.testing.assert_allclose(codec.spec.scale, np.sqrt(codec.spec.std), rtol=1e-6)
    assert set(_fit(scale_power=0.0).spec.scale) == {1.0}


def test_channels_the_fitting_set_never_used_keep_a_positive_scale():
    grey = np.full((4, 8, 8, 3), 100, np.uint8)
    codec = pca_fit.fit([grey], block=BLOCK, channels=FULL)
    assert min(codec.spec.scale) > 0


def test_the_fit_does_not_depend_on_how_the_stream_is_cut():
    whole = np.concatenate(list(_videos()))
    parts = [whole[:2], whole[2:12], whole[12:]]
    a = pca_fit.fit([whole], block=BLOCK, channels=6)
    b = pca_fit.fit(parts, block=BLOCK, channels=6)
    np.testing.assert_allclose(a.encode(_batch()), b.encode(_batch()), atol=1e-4)


def test_a_fit_can_be_repeated_bit_for_bit():
    assert _fit().spec == _fit().spec
    assert _fit().spec.sha256 != _fit(scale_power=1.0).spec.sha256


def test_flipping_a_video_reverses_width_and_multiplies_by_the_sign():
    codec = _fit(symmetric=True, channels=30)
    sign = np.asarray(codec.spec.flip_sign, np.float32).reshape(1, 1, 1, 1, -1)
    assert set(sign.flat) == {-1.0, 1.0}
    latents = codec.encode(_batch())
    flipped = codec.encode(_batch()[:, :, :, ::-1])
    np.testing.assert_allclose(flipped, latents[:, :, :, ::-1] * sign, atol=1e-5)
    # and so does it after normalising, which is where training flips
    a, b = codec.spec.normalize(flipped), codec.spec.normalize(latents)
    np.testing.assert_allclose(a, b[:, :, :, ::-1] * sign, atol=1e-4)


def test_a_plain_fit_promises_no_flip():
    codec = _fit()
    assert codec.spec.flip_sign is None
    latents = np.abs(codec.encode(_batch()))
    flipped = np.abs(codec.encode(_batch()[:, :, :, ::-1]))
    assert np.abs(flipped - latents[:, :, :, ::-1]).max() > 0.01


def test_a_symmetric_fit_costs_little():
    def error(codec):
        return float(jnp.square(codec.decode(codec.encode(_batch())) - _batch()).mean())

    assert error(_fit()) <= error(_fit(symmetric=True)) <= 1.5 * error(_fit())


def test_a_pixel_moves_only_the_latent_of_its_block():
    codec = _fit(channels=FULL)
    video = _batch()
    moved = jnp.abs(
        codec.encode(video.at[1, 3, 6, 9, 2].add(0.5)) - codec.encode(video)
    )
    found = np.argwhere(np.asarray(moved.max(axis=-1)) > 1e-4)
    np.testing.assert_array_equal(found, [[1, 1, 1, 2]])


def test_jit_changes_nothing():
    codec = _fit()
    latents = jax.jit(codec.encode)(_batch())
    np.testing.assert_allclose(latents, codec.encode(_batch()), atol=1e-5)


def test_what_cannot_be_fitted_is_refused():
    with pytest.raises(UserError, match="codec.channels is 97.*1 to 96"):
        _fit(channels=97)
    with pytest.raises(UserError, match="codec.channels is 0.*1 to 96"):
        _fit(channels=0)
    for power in (np.nan, np.inf, 1e6, -0.1):
        with pytest.raises(UserError, match="codec.scale_power is .*choose 0"):
            _fit(scale_power=power)
    for block in ((0, 4, 4), (2, -4, -4)):
        with pytest.raises(UserError, match=r"codec\.block is .*frames, height, width"):
            _fit(block=block)
    with pytest.raises(UserError, match="no block of 8 frames"):
        _fit(block=(8, 4, 4))
    with pytest.raises(UserError, match="height is 18"):
        _fit().encode(jnp.zeros((1, 2, 18, 8, 3)))


def test_weights_of_another_shape_are_bad_data():
    small, large = _fit(channels=6), _fit(channels=7)
    with pytest.raises(DataError, match="basis"):
        type(small).from_bytes(small.spec, large.weight_bytes())
