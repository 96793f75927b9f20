"""Data whose denoiser is known exactly: Gaussian mixtures, elementwise."""

import jax
import jax.numpy as jnp
import numpy as np

from dit_jax.diffusion.predictions import target
from dit_jax.diffusion.processes import Process
from dit_jax.diffusion.samplers.steps import Belief, Steps

MEAN, STD = 0.7, 0.5
GAUSSIAN = (jnp.array([1.0]), jnp.array([MEAN]), jnp.array([STD]))
WEIGHTS, MEANS, STDS = MIXTURE = (
    jnp.array([0.3, 0.7]),
    jnp.array([-1.5, 1.0]),
    jnp.array([0.3, 0.5]),
)


def normal(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


def mean_x0(xt, alpha, sigma, law):
    """E[x0 | xt]."""
    weights, means, stds = (jnp.reshape(p, (1,) * xt.ndim + (-1,)) for p in law)
    x = xt[..., None]
    variance = alpha**2 * stds**2 + sigma**2
    residual = x - alpha * means
    log_share = jnp.log(weights) - residual**2 / (2 * variance) - jnp.log(variance) / 2
    each = means + alpha * stds**2 / variance * residual
    return jnp.sum(jax.nn.softmax(log_share, axis=-1) * each, axis=-1)


def exact_denoiser(process: Process, prediction: str, law=GAUSSIAN):
    """The best possible denoiser: the conditional mean of its target."""

    def denoise(xt, t, conditioning):
        alpha, sigma = process.alpha(t)[:, None], process.sigma(t)[:, None]
        x0 = mean_x0(xt, alpha[..., None], sigma[..., None], law)
        return target(prediction, process, x0, (xt - alpha * x0) / sigma, t)

    return denoise


def exact_belief(law):
    """The same as an estimate, which asks no process."""

    def estimate(xt, point):
        x0 = mean_x0(xt, point.alpha, point.sigma, law)
        return Belief(x0, (xt - point.alpha * x0) / point.sigma)

    return estimate


@jax.jit
def _walked(table: Steps, start: jax.Array, law) -> jax.Array:
    def noise(row):
        key = jax.random.fold_in(jax.random.key(99), row)
        return jax.random.normal(key, start.shape, start.dtype)

    return table.run(exact_belief(law), start, noise)


def walk(table: Steps, start: jax.Array, law=GAUSSIAN) -> np.ndarray:
    """Samples of a law by a table; compiled once for tables of one shape."""
    return np.asarray(_walked(table, start, law), np.float64)


def gaussian_path(process: Process, noise: jax.Array, t: float) -> np.ndarray:
    """Where the ODE takes noise: z standard deviations stay z standard deviations."""
    with jax.enable_x64(True):
        alpha, sigma = (
            float(f(jnp.float64(t))) for f in (process.alpha, process.sigma)
        )
    return alpha * MEAN + np.sqrt(alpha**2 * STD**2 + sigma**2) * np.float64(noise)
