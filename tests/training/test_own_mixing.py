"""A mixing of one's own is a function and a row of a table; nothing else is touched."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from dit_jax.models.mixings import MIXINGS, Attending, Mixing


def causal_in_time(attention, q, k, v, scene):
    """A token attends to its frame and to those before it, one frame after another."""
    sites = scene.grid[1] * scene.grid[2]
    frames = []
    for end in range(sites, q.shape[1] + 1, sites):
        seen = (part[:, :end] for part in (q, k, v))
        frames.append(attention(*seen, None)[:, -sites:])
    return jnp.concatenate(frames, axis=1)


OWN = Mixing(lambda values: [{"attention": Attending(causal_in_time)}])


@pytest.fixture
def own(monkeypatch, make_training):
    """The joint transformer of configs/joint.py with that mixing, by an override."""
    monkeypatch.setitem(MIXINGS, "causal_in_time", OWN)
    return make_training({"fsdp": 4, "tensor": 2}, model__mixing="causal_in_time")


def test_it_trains(own):
    """On clips that are all 0, where what is to be predicted is the input over t."""
    batch, state = own.batch(0), own.state()
    batch = dataclasses.replace(batch, latents=jnp.zeros_like(batch.latents))
    losses = []
    for _ in range(20):
        state, metrics = own.run.train_step(state, batch)
        losses.append(float(metrics["loss"]))
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])


def test_it_does_what_it_says(own):
    """A frame does not depend on those after it, and does on those before."""
    denoise = own.run.denoiser.bind(own.state().params)
    batch = own.batch(0)
    told = own.run.denoiser.hears(batch.conditioning)
    x, t = batch.latents, jnp.full(len(batch.latents), 0.5)
    outs = [denoise(x.at[:, frame].add(1.0), t, told) for frame in (0, 3)]
    change = np.abs(np.asarray(outs) - denoise(x, t, told)[None]).max((1, 3, 4, 5))
    assert (change[0] > 1e-4).all()
    assert (change[1][:3] < 1e-5).all() and change[1][3] > 1e-4
