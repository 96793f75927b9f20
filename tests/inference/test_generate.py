"""One seed gives one video, whatever the mesh and the batch; labels are heard."""

import dataclasses

import jax
import numpy as np
import pytest

from dit_jax.codecs.pixels import to_uint8
from dit_jax.diffusion.samplers import make_estimate
from dit_jax.errors import UserError
from dit_jax.inference import generate
from dit_jax.inference.generate import Draw, told
from dit_jax.inference.run_folder import Run, process_of
from dit_jax.parallel import mesh
from tests.inference.conftest import OPTIONS


@pytest.fixture(scope="module")
def run(make_run) -> Run:
    return make_run()


LABELS = [0, 1, 2, 0, 1]


@pytest.mark.parametrize(
    ("sampler", "count", "batch_size"),
    [("euler", 1, 2), ("euler", 8, 8), ("ancestral", 1, 2), ("ancestral", 4, 4)],
)
def test_the_same_seed_is_the_same_video_on_any_mesh_and_batch(
    run, videos, sampler, count, batch_size
):
    expected = videos(run, LABELS, sampler=sampler)
    found = videos(run, LABELS, count=count, batch_size=batch_size, sampler=sampler)
    assert np.abs(found - expected).max() <= 1  # a rounding step of one grey level
    assert expected.std() > 5


def test_seed_label_and_guidance_change_the_video(run, videos):
    expected = videos(run, LABELS)
    assert np.any(videos(run, LABELS, seed=1) != expected)
    assert np.any(videos(run, [1, 1, 2, 0, 1])[0] != expected[0])
    assert np.any(videos(run, LABELS, guidance=1.0) != expected)


def test_labels_beyond_the_classes_are_refused(run, videos):
    with pytest.raises(UserError, match="the run has 3 classes"):
        videos(run, [4])


def test_the_null_label_is_what_guidance_pushes_away_from(run, videos):
    plain = videos(run, [3, 3], guidance=1.0)
    guided = videos(run, [3, 3], guidance=5.0)
    np.testing.assert_array_equal(plain, guided)


def test_batch_size_must_fit_the_mesh(run, videos):
    with pytest.raises(UserError, match="sample.batch_size is 3"):
        videos(run, LABELS, count=2, batch_size=3)


@pytest.fixture(scope="module")
def continuing(make_run) -> Run:
    return make_run(model__frames="concat")


def given(run, count=1, seed=0):
    shape = (len(LABELS), count, *run.latent_shape[1:])
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_every_clip_begins_with_its_given_frames(continuing, videos):
    """The codec decodes frame by latent frame, so theirs do not depend on the rest."""
    frames = given(continuing)
    found = videos(continuing, LABELS, frames=frames)
    codec = continuing.codec
    alone = codec.decode(codec.spec.denormalize(frames))
    np.testing.assert_array_equal(found[:, : alone.shape[1]], to_uint8(alone))
    assert found.shape[1] == videos(continuing, LABELS).shape[1]


def test_what_follows_depends_on_what_was_given_and_on_its_own_clip_alone(
    continuing, videos
):
    frames = given(continuing)
    expected = videos(continuing, LABELS, frames=frames)
    frames[1] = given(continuing, seed=1)[1]
    found = videos(continuing, LABELS, frames=frames, count=4)
    last = np.abs(found - expected)[:, -1].max((1, 2, 3))
    assert last[1] > 5 and (np.delete(last, 1) <= 1).all()


def test_frames_that_nobody_reads_or_that_fill_the_clip_are_refused(
    run, continuing, videos
):
    with pytest.raises(UserError, match="not told any .model.frames is none"):
        videos(run, LABELS, frames=given(run))
    with pytest.raises(UserError, match="fewer frames than a clip has"):
        videos(continuing, LABELS, frames=given(continuing, count=2))


def test_seeds_labels_and_guidance_of_one_shape_share_a_program(run, monkeypatch):
    traced = []
    monkeypatch.setattr(
        generate,
        "make_estimate",
        lambda *arguments: traced.append(1) or make_estimate(*arguments),
    )
    alone = mesh.build(jax.devices()[:1], data=-1, fsdp=1, context=1, tensor=1)
    draw = Draw(run, alone, sampler="dpmpp_2m", **OPTIONS)
    rows = np.arange(2, dtype=np.int32)
    made = [
        np.asarray(draw(seed, rows, told(run, np.array(labels)), guidance))
        for seed, labels, guidance in (
            (0, [0, 1], 2.0),
            (1, [0, 1], 2.0),
            (0, [2, 1], 2.0),
            (0, [0, 1], 5.0),
        )
    ]
    assert len(traced) == 1
    assert all(np.any(video != made[0]) for video in made[1:])
    draw(0, rows, told(run, np.array([0, 1])), 1.0)  # half the work: another program
    draw(1, rows, told(run, np.array([0, 2])), 1.0)
    assert len(traced) == 2


def drawn(run, guidance=2.0, seed=0, **changed):
    alone = mesh.build(jax.devices()[:1], data=-1, fsdp=1, context=1, tensor=1)
    draw = Draw(run, alone, **(OPTIONS | {"sampler": "euler"} | changed))
    labels = told(run, np.array([0, 1]))
    rows = np.arange(2, dtype=np.int32)
    return np.asarray(draw(seed, rows, labels, guidance)).astype(int)


def test_whoever_watches_hears_of_every_step_and_changes_nothing(run):
    heard = []
    found = drawn(run, watch=lambda done, total: heard.append((done, total)))
    jax.effects_barrier()
    assert heard == [(1, 4), (2, 4), (3, 4), (4, 4)]
    np.testing.assert_array_equal(found, drawn(run))


def test_an_adaptive_method_goes_where_many_steps_go(run):
    found = drawn(run, sampler="dopri5:rtol=1e-4,atol=1e-5")
    coarse, fine = (drawn(run, sampler="heun", steps=n) for n in (4, 128))
    assert np.abs(found - fine).mean() < 1
    assert np.abs(found - fine).mean() < 0.5 * np.abs(coarse - fine).mean()


def test_guidance_is_scheduled_restrained_and_of_some_channels(run):
    plain, guided = drawn(run, 1.0), drawn(run, 3.0)

    def gain(guidance=3.0, **changed):
        """0 where nothing is guided, 1 where all is."""
        found = drawn(run, guidance, **changed)
        return np.abs(found - plain).mean() / np.abs(guided - plain).mean()

    assert gain(guidance_schedule="interval:low=0.9,high=0.95") == 0
    assert 0 < gain(guidance_schedule="interval:low=0.6,high=1.0") < 1
    assert gain(0.0, guidance_schedule="cosine") < 0.02  # 1 + 0 at every step
    assert 0 < gain(guidance_channels=1) < 1
    assert gain(guidance_restraint="renormed:over=channel") < 1


def test_a_network_that_says_its_variance_is_sampled_with_it(make_run):
    values = {"model__learn_sigma": "True", "diffusion__process": "ddpm_linear"}
    run = make_run(**values)
    run = dataclasses.replace(run, process=process_of(run.config.diffusion))
    way = {"grid": "respaced:sections=3+5", "steps": 8}
    small, said = (
        drawn(run, sampler=f"ddpm:variance={name}", **way)
        for name in ("fixed_small", "learned_range")
    )
    assert np.any(small != said)
    with pytest.raises(UserError, match="8 steps|sample.steps, 6"):
        drawn(run, sampler="euler", **way | {"steps": 6})


def test_every_x0_can_be_clipped(run):
    found = drawn(run, sampler="ancestral", clip="clipped:limit=1e-6")
    nothing = run.show(jax.numpy.zeros((1, *run.latent_shape)))
    assert np.abs(found - np.asarray(nothing).astype(int)).max() <= 1


def test_latents_that_are_not_finite_are_no_videos(run):
    with pytest.raises(UserError, match="latents that are not finite"):
        drawn(run, sampler="dopri5:max_steps=1,rtol=1e-6,atol=1e-6")
