from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax.diffusion import guidance as g
from dit_jax.diffusion import options
from dit_jax.diffusion.grids import make_grid
from dit_jax.diffusion.guidance import classifier_free, unconditional
from dit_jax.diffusion.guidance.restraints import renormed, rescaled
from dit_jax.diffusion.guidance.scales import cosine, interval, oscillating
from dit_jax.diffusion.points import Grid
from dit_jax.diffusion.predictions import PREDICTIONS, convert
from dit_jax.diffusion.processes import RectifiedFlow
from dit_jax.diffusion.samplers import SAMPLERS, sample
from dit_jax.errors import UserError
from dit_jax.types import Conditioning

NULL = 3
LABELS = Conditioning(label=jnp.array([0, 2, 1, 1]))
T = jnp.array([0.2, 0.4, 0.6, 0.8])
FLOW = RectifiedFlow()
NO_LABEL = unconditional(NULL)


def normal(seed: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), (4, 2, 5))


def denoise(xt, t, conditioning):
    """Every row by itself, and nonlinear in all that it is told."""
    offset = (conditioning.label[:, None, None] + 1) * t[:, None, None]
    return jnp.sin(offset) * xt + offset


def of_null(xt, t):
    return denoise(xt, t, Conditioning(label=jnp.full(4, NULL)))


def told_both(xt, t, conditioning):
    """Hears a label, as an image, and a text, where there is one."""
    pooled = (conditioning.pooled * conditioning.text_mask[:, :1])[:, :, None]
    return denoise(xt, t, conditioning) + pooled * jnp.cos(xt)


BOTH = Conditioning(
    label=LABELS.label,
    pooled=jnp.arange(4.0)[:, None] + 1,
    text_mask=jnp.ones((4, 3), jnp.int32),
)


def no_text(told):
    return Conditioning(
        label=told.label, pooled=told.pooled, text_mask=0 * told.text_mask
    )


def no_image(told):
    return Conditioning(
        label=jnp.full(4, NULL), pooled=told.pooled, text_mask=told.text_mask
    )


def nothing(told):
    return no_text(no_image(told))


class Counted:
    """A denoiser that remembers how often it was traced, and on how many rows."""

    def __init__(self, denoise_fn=denoise):
        self.denoise_fn, self.rows = denoise_fn, []

    def __call__(self, xt, t, conditioning):
        self.rows.append(len(xt))
        return self.denoise_fn(xt, t, conditioning)


def at(t):
    return jnp.full(4, t, jnp.float32)


# Plain guidance -----------------------------------------------------------------------


@pytest.mark.parametrize("guidance", [0.0, 0.5, 1.5, 4.0])
@pytest.mark.parametrize("kind", [float, jnp.float32])
def test_guidance_extrapolates_from_unconditional(guidance, kind):
    guided = classifier_free(denoise, NO_LABEL, kind(guidance))
    cond, uncond = denoise(normal(0), T, LABELS), of_null(normal(0), T)
    wanted = uncond + guidance * (cond - uncond)
    np.testing.assert_allclose(guided(normal(0), T, LABELS), wanted, rtol=1e-5)


def test_guidance_0_is_unconditional():
    guided = classifier_free(denoise, NO_LABEL, 0.0)
    np.testing.assert_array_equal(guided(normal(0), T, LABELS), of_null(normal(0), T))


@pytest.mark.parametrize("name", SAMPLERS)
def test_guidance_1_samples_as_without_guidance_bit_for_bit(name):
    def run(denoise_fn):
        return sample(
            denoise_fn,
            SAMPLERS[name],
            make_grid("uniform", FLOW, 4, t_max=0.9, t_min=0.1),
            normal(1),
            prediction="velocity",
            conditioning=LABELS,
            noise=lambda row: jax.random.normal(jax.random.key(row), (4, 2, 5)),
        )

    one = Counted()
    plain = run(classifier_free(one, NO_LABEL, 1.0))
    np.testing.assert_array_equal(plain, run(denoise))
    assert set(one.rows) == {4}
    two = run(classifier_free(denoise, NO_LABEL, 2.0))
    assert not np.allclose(plain, two)


@pytest.mark.parametrize(
    "guidance", [1.0, jnp.float32(1.0), lambda t: jnp.ones_like(t)]
)
def test_guidance_1_is_the_conditional_output_bit_for_bit(guidance):
    wanted = denoise(normal(0), T, LABELS)
    for restraint in (rescaled(0.7), renormed(), renormed("channel")):
        guided = classifier_free(denoise, NO_LABEL, guidance, restraint=restraint)
        np.testing.assert_array_equal(guided(normal(0), T, LABELS), wanted)


@pytest.mark.parametrize("guidance", [-1.0, 0.3, 7.5])
def test_equal_branches_stay_what_they_are(guidance):
    nulls = Conditioning(label=jnp.full(4, NULL))
    wanted = of_null(normal(0), T)
    for guided in (
        classifier_free(denoise, NO_LABEL, guidance),
        g.one_by_one(denoise, [NO_LABEL, NO_LABEL], [guidance, 2.0]),
        g.in_turn(denoise, [NO_LABEL, NO_LABEL], [guidance, 2.0]),
        g.autoguidance(denoise, denoise, guidance),
    ):
        np.testing.assert_array_equal(guided(normal(0), T, nulls), wanted)


def test_both_branches_are_one_call():
    counted = Counted()
    classifier_free(counted, NO_LABEL, 2.0)(normal(0), T, LABELS)
    assert counted.rows == [8]


def test_a_pair_stays_together():
    """Row i of the batch is rows 2i and 2i + 1, so that shards keep their rows."""
    seen = {}

    def spy(xt, t, conditioning):
        seen.update(t=t, label=conditioning.label)
        return xt

    classifier_free(spy, NO_LABEL, 2.0)(normal(0), T, LABELS)
    np.testing.assert_array_equal(seen["t"], np.repeat(T, 2))
    np.testing.assert_array_equal(seen["label"], [0, 3, 2, 3, 1, 3, 1, 3])


@pytest.mark.parametrize("want", PREDICTIONS)
def test_guiding_any_prediction_is_guiding_all(want):
    xt = normal(0)

    def converted(xt, t, conditioning):
        return convert("v", want, FLOW, denoise(xt, t, conditioning), xt, t)

    guided = classifier_free(denoise, NO_LABEL, 2.5)(xt, T, LABELS)
    found = classifier_free(converted, NO_LABEL, 2.5)(xt, T, LABELS)
    wanted = convert("v", want, FLOW, guided, xt, T)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_label_and_text_are_dropped_and_nothing_else():
    fps, text_mask = jnp.array([8.0, 24.0]), jnp.ones((2, 5), jnp.int32)
    full = Conditioning(label=jnp.arange(2), text_mask=text_mask, fps=fps)
    dropped = unconditional(NULL)(full)
    np.testing.assert_array_equal(dropped.label, [NULL, NULL])
    np.testing.assert_array_equal(dropped.text_mask, 0 * text_mask)
    np.testing.assert_array_equal(dropped.fps, fps)
    only_text = unconditional(NULL)(Conditioning(text_mask=text_mask))
    assert only_text.label is None and not only_text.text_mask.any()


def test_every_stream_is_guided():
    def streams(xt, t, conditioning):
        return {name: denoise(x, t[name], conditioning) for name, x in xt.items()}

    xt, t = {"a": normal(0), "b": normal(1)}, {"a": T, "b": T / 2}
    found = classifier_free(streams, NO_LABEL, 3.0)(xt, t, LABELS)
    alone = classifier_free(denoise, NO_LABEL, 3.0)
    for name in xt:
        np.testing.assert_array_equal(found[name], alone(xt[name], t[name], LABELS))


def test_guidance_of_nothing_told_says_what_to_do():
    guided = classifier_free(denoise, NO_LABEL, 2.0)
    with pytest.raises(ValueError, match="pass some .* or set guidance to 1.0"):
        guided(normal(0), T, Conditioning())


def test_half_precision_is_combined_in_float32():
    def half(xt, t, conditioning):
        return denoise(xt, t, conditioning).astype(jnp.bfloat16)

    found = classifier_free(half, NO_LABEL, 2.5)(normal(0), T, LABELS)
    cond, uncond = half(normal(0), T, LABELS), of_null(normal(0), T)
    uncond = uncond.astype(jnp.bfloat16).astype(jnp.float32)
    wanted = uncond + 2.5 * (cond.astype(jnp.float32) - uncond)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


# Strength -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "scale",
    [
        lambda value, grid: value,
        interval,
        partial(interval, low=0.1, high=0.5),
        cosine,
        partial(oscillating, start=1),
        lambda value, grid: g.over_steps(value * jnp.arange(3.0), grid),
    ],
)
def test_one_program_serves_all_values_of_guidance(scale):
    counted, grid = Counted(), make_grid("uniform", FLOW, 3)

    @jax.jit
    def run(xt, value):
        guided = classifier_free(counted, NO_LABEL, scale(value, grid))
        return guided(xt, at(0.45), LABELS)

    results = [run(normal(0), value) for value in (1.0, 1.5, 7.0)]
    assert counted.rows == [8]
    assert np.all(np.isfinite(results))


def test_outside_its_interval_guidance_is_off():
    grid = make_grid("uniform", FLOW, 4)
    scale = interval(5.0, grid, low=0.4, high=0.8)
    guided = classifier_free(denoise, NO_LABEL, scale)
    always = classifier_free(denoise, NO_LABEL, 5.0)
    for t, is_on in (
        (0.1, False),
        (0.4, False),
        (0.5, True),
        (0.8, True),
        (0.9, False),
    ):
        like = always if is_on else denoise
        found = guided(normal(0), at(t), LABELS)
        np.testing.assert_allclose(found, like(normal(0), at(t), LABELS), rtol=1e-6)
    assert interval(1.0, grid) == 1.0


def values(scale, grid):
    """What a schedule says at the calls of its grid."""
    return [float(scale(jnp.float32(t))) for t in grid.calls.t]


def test_schedules_over_steps_are_those_of_their_papers():
    grid = make_grid("uniform", FLOW, 14, shift=5.0)
    step = np.arange(14)
    dynamic = 1 + 6 * (1 - np.cos(np.pi * (step / 14) ** 5)) / 2
    np.testing.assert_allclose(values(cosine(6.0, grid), grid), dynamic, rtol=1e-6)
    off_and_on = [7.5] * 10 + [7.5, 1.0, 7.5, 1.0]
    np.testing.assert_allclose(values(oscillating(7.5, grid), grid), off_and_on)
    mochi = np.linspace(6.0, 1.0, 14)
    np.testing.assert_allclose(
        values(g.over_steps(mochi, grid), grid), mochi, rtol=1e-6
    )


def test_a_schedule_follows_every_frames_own_time():
    grid = make_grid("uniform", FLOW, 4)
    scale = g.over_steps([1.0, 2.0, 3.0, 4.0], grid)
    t = jnp.array([[1.0, 0.72, 0.5], [0.3, 0.01, 0.6]])
    np.testing.assert_array_equal(scale(t), [[1, 2, 3], [4, 4, 3]])


def test_a_schedule_acts_at_the_steps_of_a_sampler():
    grid = make_grid("uniform", FLOW, 4)
    scales = [3.0, 1.0, 2.0, 1.5]

    def run(denoise_fn, part, start):
        return sample(
            denoise_fn,
            SAMPLERS["euler"],
            part,
            start,
            prediction="velocity",
            conditioning=LABELS,
        )

    guided = classifier_free(denoise, NO_LABEL, g.over_steps(scales, grid))
    found = run(guided, grid, normal(1))
    wanted = normal(1)
    for i, scale in enumerate(scales):
        plain = classifier_free(denoise, NO_LABEL, scale)
        wanted = run(plain, grid.rows(slice(i, i + 1)), wanted)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_every_schedule_and_restraint_is_named_with_its_options():
    grid = make_grid("uniform", FLOW, 12)
    for name in g.SCHEDULES:
        scale = options.read(g.SCHEDULES, name, "guidance.schedule")(3.0, grid)
        made = classifier_free(denoise, NO_LABEL, scale)(normal(0), T, LABELS)
        assert np.all(np.isfinite(made))
    for name in g.RESTRAINTS:
        restraint = options.read(g.RESTRAINTS, name, "guidance.restraint")()
        made = restraint(normal(0), normal(1))
        assert made.shape == (4, 2, 5)
    early = options.read(g.SCHEDULES, "oscillating:start=2", "guidance.schedule")
    assert values(early(3.0, grid), grid)[:5] == [3.0, 3.0, 3.0, 1.0, 3.0]


# Restraints ---------------------------------------------------------------------------


def guided_by(guidance, **how):
    return classifier_free(denoise, NO_LABEL, guidance, **how)(normal(0), T, LABELS)


def std(x):
    return np.std(x, axis=(1, 2))


def test_rescaling_by_0_is_none_and_by_1_takes_the_conditional_spread():
    plain = guided_by(6.0)
    np.testing.assert_array_equal(guided_by(6.0, restraint=rescaled(0.0)), plain)
    cond = denoise(normal(0), T, LABELS)
    whole = guided_by(6.0, restraint=rescaled(1.0))
    np.testing.assert_allclose(std(whole), std(cond), rtol=1e-5)
    half = guided_by(6.0, restraint=rescaled(0.5))
    np.testing.assert_allclose(half, (plain + whole) / 2, rtol=1e-5)


@pytest.mark.parametrize(("over", "axes"), [("global", (1, 2)), ("channel", (2,))])
def test_renorm_bounds_the_norm_and_keeps_the_direction(over, axes):
    def norm(x):
        return np.linalg.norm(x, axis=axes)

    plain, cond = guided_by(6.0), denoise(normal(0), T, LABELS)
    made = guided_by(6.0, restraint=renormed(over))
    wanted = np.minimum(norm(plain), norm(cond))
    np.testing.assert_allclose(norm(made), wanted, rtol=1e-5)
    share = np.sum(np.asarray(made) * np.asarray(plain), axes)
    np.testing.assert_allclose(share, norm(made) * norm(plain), rtol=1e-5)


def test_a_renorm_shrinks_by_no_more_than_its_least_factor():
    plain = guided_by(6.0)
    made = guided_by(6.0, restraint=renormed("channel", least=0.9))
    ratio = np.asarray(made / plain)
    assert ratio.min() == pytest.approx(0.9) and ratio.max() <= 1 + 1e-6
    np.testing.assert_array_equal(guided_by(6.0, restraint=renormed(least=1.0)), plain)


def test_outputs_of_zeros_are_restrained_to_zeros():
    zeros = jnp.zeros((4, 2, 5))
    for restraint in (rescaled(1.0), renormed(), renormed("channel")):
        np.testing.assert_array_equal(restraint(zeros, normal(0)), zeros)


# Several conditions -------------------------------------------------------------------


def test_each_condition_has_a_scale_of_its_own_in_one_call():
    counted = Counted(told_both)
    guided = g.one_by_one(counted, [no_text, nothing], [7.5, 3.0])
    both, image, none = (
        told_both(normal(0), T, change(BOTH))
        for change in (lambda told: told, no_text, nothing)
    )
    wanted = none + 3.0 * (image - none) + 7.5 * (both - image)
    found = guided(normal(0), T, BOTH)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    assert counted.rows == [12]


def test_equal_scales_of_two_conditions_are_plain_guidance():
    two = g.one_by_one(told_both, [no_text, nothing], [4.0, 4.0])
    one = classifier_free(told_both, nothing, 4.0)
    found, wanted = (f(normal(0), T, BOTH) for f in (two, one))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_conditions_left_out_alone_are_extrapolated_in_turn():
    guided = g.in_turn(told_both, [no_text, no_image], [4.0, 1.5])
    both, image, text = (
        told_both(normal(0), T, change(BOTH))
        for change in (lambda told: told, no_text, no_image)
    )
    of_text = image + 4.0 * (both - image)
    wanted = text + 1.5 * (of_text - text)
    found = guided(normal(0), T, BOTH)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("way", [g.one_by_one, g.in_turn])
def test_conditions_whose_scales_are_all_1_cost_nothing(way):
    assert way(told_both, [no_text, nothing], [1.0, 1.0]) is told_both
    grid = make_grid("uniform", FLOW, 4)
    off = interval(3.0, grid, low=0.8)
    guided = way(told_both, [no_text, nothing], [off, jnp.float32(1.0)])
    found = guided(normal(0), at(0.5), BOTH)
    np.testing.assert_array_equal(found, told_both(normal(0), at(0.5), BOTH))


# Channels, and models -----------------------------------------------------------------


def with_variance(xt, t, conditioning):
    out = denoise(xt, t, conditioning)
    return jnp.concatenate([out, jnp.tanh(out)], axis=-1)


def test_channels_beyond_those_of_the_input_are_the_conditional_ones():
    found = classifier_free(with_variance, NO_LABEL, 3.0)(normal(0), T, LABELS)
    wanted = with_variance(normal(0), T, LABELS)
    np.testing.assert_array_equal(found[..., 5:], wanted[..., 5:])
    np.testing.assert_array_equal(found[..., :5], guided_by(3.0))


def test_the_first_channels_alone_may_be_guided():
    how = {"channels": 3, "restraint": rescaled(1.0)}
    found = classifier_free(with_variance, NO_LABEL, 3.0, **how)(normal(0), T, LABELS)
    cond, uncond = with_variance(normal(0), T, LABELS), of_null(normal(0), T)
    np.testing.assert_array_equal(found[..., 3:], cond[..., 3:])
    some = uncond[..., :3] + 3.0 * (cond - jnp.tile(uncond, 2))[..., :3]
    wanted = rescaled(1.0)(some, cond[..., :3])
    np.testing.assert_allclose(found[..., :3], wanted, rtol=1e-5)
    all_of_them = classifier_free(denoise, NO_LABEL, 3.0, channels=9)
    found = all_of_them(normal(0), T, LABELS)
    np.testing.assert_array_equal(found, guided_by(3.0))


def test_autoguidance_leads_away_from_the_weaker_model():
    def weaker(xt, t, conditioning):
        return 0.8 * denoise(xt, t, conditioning)

    strong, weak = Counted(with_variance), Counted(weaker)
    found = g.autoguidance(strong, weak, 2.5)(normal(0), T, LABELS)
    out = with_variance(normal(0), T, LABELS)
    good, bad = out[..., :5], weaker(normal(0), T, LABELS)
    wanted = good + 1.5 * (good - bad)
    np.testing.assert_allclose(found[..., :5], wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found[..., 5:], out[..., 5:])
    assert strong.rows == weak.rows == [4]
    assert g.autoguidance(strong, weak, 1.0) is strong


# Mistakes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda grid: interval(2.0, grid, low=0.8, high=0.4), "from t = 0.8 to 0.4"),
        (lambda grid: g.over_steps([1.0, 2.0], grid), "2 values and the grid 4 calls"),
        (lambda grid: rescaled(1.5), "phi is 1.5"),
        (lambda grid: renormed("layer"), "the norm of guidance is 'layer'"),
        (lambda grid: renormed(least=2.0), "least factor of a norm is 2.0"),
        (lambda grid: g.one_by_one(denoise, [NO_LABEL], [1.0, 2.0]), "2 scales for 1"),
        (lambda grid: guided_by(2.0, channels=0), "guidance of 0 channels"),
    ],
)
def test_a_mistake_is_named(make, message):
    grid: Grid = make_grid("uniform", FLOW, 4)
    with pytest.raises(UserError, match=message):
        make(grid)
