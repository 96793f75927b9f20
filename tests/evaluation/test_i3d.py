import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax.evaluation import i3d


def _random(*shape):
    return jnp.asarray(np.random.RandomState(sum(shape)).randn(*shape), jnp.float32)


@pytest.fixture(scope="module")
def params(small_weights):
    return jax.tree.map(jnp.asarray, i3d.fold_batch_norms(small_weights.variables))


def test_both_forms_give_equal_logits(params):
    videos = jnp.clip(_random(1, 9, 224, 224, 3), -1, 1)
    folded, native = (
        jax.jit(i3d.logits, static_argnames="form")(params, videos, form=form)
        for form in ("folded", "native")
    )
    assert jnp.std(native) > 0.01
    np.testing.assert_allclose(folded, native, rtol=0, atol=2e-5 * abs(native).max())


@pytest.mark.parametrize("frames", [2, 5, 8])
@pytest.mark.parametrize("kernel", [(1, 1, 1), (3, 3, 3), (7, 7, 7)])
@pytest.mark.parametrize("stride", [1, 2])
def test_folded_convolution_is_the_native_one(frames, kernel, stride):
    x, w = _random(2, frames, 9, 10, 3), _random(*kernel, 3, 5)
    wanted = i3d.conv_native(x, w, stride)
    np.testing.assert_allclose(
        i3d.conv_folded(x, w, stride), wanted, rtol=0, atol=1e-5 * abs(wanted).max()
    )


@pytest.mark.parametrize("length", [4, 7, 8])
@pytest.mark.parametrize(
    "window, strides",
    [((1, 3, 3), (1, 2, 2)), ((3, 3, 3), (2, 2, 2)), ((2, 2, 2), (2, 2, 2))],
)
def test_separable_pool_is_the_native_one(length, window, strides):
    x = _random(1, length, length, length + 1, 2) - 10  # padding of 0 would win
    np.testing.assert_array_equal(
        i3d.max_pool(x, window, strides, "folded"),
        i3d.max_pool(x, window, strides, "native"),
    )


def test_convolution_pads_like_tensorflow():
    # SAME at stride 2 over 4 frames with a kernel of 3 pads 0 below and 1 above.
    x = jnp.arange(1.0, 5.0).reshape(1, 4, 1, 1, 1)
    w = jnp.asarray([1.0, 10.0, 100.0]).reshape(3, 1, 1, 1, 1)
    for conv in (i3d.conv_native, i3d.conv_folded):
        np.testing.assert_array_equal(conv(x, w, 2).ravel(), [321, 43])


def test_folded_batch_norm_is_batch_norm(small_weights):
    name, v = "Mixed_5b/Branch_2/Conv3d_0a_3x3", small_weights.variables
    kernel, bias = i3d.fold_batch_norms(v)[name]
    x = _random(1, 3, 4, 4, kernel.shape[3])
    plain = i3d.conv_native(x, jnp.asarray(v[f"{name}/conv_3d/w"]), 1)
    norm = {key: v[f"{name}/batch_norm/{key}"] for key in ("beta", "moving_mean")}
    variance = v[f"{name}/batch_norm/moving_variance"]
    wanted = (plain - norm["moving_mean"]) / np.sqrt(variance + 1e-3) + norm["beta"]
    found = i3d.conv_native(x, jnp.asarray(kernel), 1) + bias[None, None, None, None]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def test_every_unit_is_used(params):
    used = []

    class Recording(dict):
        def __getitem__(self, name):
            used.append(name)
            return super().__getitem__(name)

    videos = jax.ShapeDtypeStruct((1, 9, 224, 224, 3), jnp.float32)
    jax.eval_shape(lambda x: i3d.logits(Recording(params), x, "folded"), videos)
    assert set(used) == set(params)


def _bilinear(image, size):
    """Half-pixel bilinear without antialias, edges clamped; float64, one channel."""
    axes = []
    for length in image.shape:
        position = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0, length - 1)
        low = np.minimum(np.floor(position).astype(int), length - 2)
        axes.append((low, position - low))
    (y, fy), (x, fx) = axes
    fy = fy[:, None]
    top = image[y][:, x] * (1 - fx) + image[y][:, x + 1] * fx
    bottom = image[y + 1][:, x] * (1 - fx) + image[y + 1][:, x + 1] * fx
    return top * (1 - fy) + bottom * fy


@pytest.mark.parametrize("height, width", [(64, 64), (90, 160), (300, 256)])
def test_resize_is_half_pixel_bilinear_without_antialias(height, width):
    random = np.random.RandomState(0)
    video = random.randint(0, 256, (1, 1, height, width, 3), dtype=np.uint8)
    found = i3d.preprocess(jnp.asarray(video))
    # jax.image computes positions in float32; an antialiased kernel is off by 0.1.
    wanted = _bilinear(video[0, 0, :, :, 1].astype(float), 224) / 127.5 - 1
    np.testing.assert_allclose(found[0, 0, :, :, 1], wanted, rtol=0, atol=1e-4)


def test_pixels_map_to_plus_minus_one():
    video = jnp.asarray([0, 255], jnp.uint8).reshape(1, 2, 1, 1, 1)
    found = i3d.preprocess(jnp.broadcast_to(video, (1, 2, 224, 224, 3)))
    np.testing.assert_array_equal(found[0, :, 0, 0, 0], [-1, 1])


def test_clips_i3d_cannot_see_are_refused(params):
    with pytest.raises(ValueError, match="8 frames of 224x224; it needs at least 9"):
        i3d.logits(params, jnp.zeros((1, 8, 224, 224, 3)), "folded")
