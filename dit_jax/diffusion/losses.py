"""The training loss. Training and validation call the same function."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dit_jax.diffusion.predictions import convert, target
from dit_jax.diffusion.processes import Process
from dit_jax.diffusion.streams import Streams, Times, split_variance
from dit_jax.types import Conditioning, DenoiseFn


def denoising_loss(
    denoise_fn: DenoiseFn,
    process: Process,
    prediction: str,
    *,
    loss_in: str,
    x0: Streams,
    eps: Streams,
    t: Times,
    conditioning: Conditioning,
) -> Float[Array, " B"]:
    """Mean squared error of each example, in the space `loss_in`, float32.

    The network puts out `prediction`; where `loss_in` differs, its output is converted
    first, so both names are any of `PREDICTIONS` and their weights differ by what
    `Coefficients` says (x0 -> eps: alpha^2 / sigma^2). With `conditioning.mask` the
    mean runs over the example's generated positions alone, so that the scale does not
    depend on the mask and the mean over microbatches is the mean over the batch.
    eps: Ho et al. 2020, arXiv:2006.11239, eq. 14. x0, v: Salimans and Ho 2022,
    arXiv:2202.00512, section 4. velocity: Lipman et al. 2022, arXiv:2210.02747, eq. 14.
    """
    xt = process.add_noise(x0, eps, t)
    out, _ = split_variance(denoise_fn(xt, t, conditioning), xt)
    found = convert(prediction, loss_in, process, out, xt, t)
    wanted = target(loss_in, process, x0, eps, t)
    errors = jax.tree.map(lambda a, b: jnp.square(a - b), found, wanted)
    assert not isinstance(conditioning.mask, jax.ShapeDtypeStruct)
    return example_mean(errors, conditioning.mask)


def example_mean(
    values: Streams, mask: Float[Array | np.ndarray, "B ..."] | None
) -> Float[Array, " B"]:
    """Mean of each example over all streams, where `mask` (1 = generate) is not 0.

    The mask broadcasts over axes of size 1. An example without masked elements
    gives 0.
    """
    if mask is None:
        kept = jax.tree.map(jnp.ones_like, values)
    else:
        kept = jax.tree.map(
            lambda leaf: jnp.broadcast_to(mask, leaf.shape).astype(leaf.dtype), values
        )
    # where, not times: an error at a given position may be inf, and inf * 0 is nan.
    masked = jax.tree.map(lambda leaf, keep: jnp.where(keep > 0, leaf, 0), values, kept)
    return _example_sum(masked) / jnp.maximum(_example_sum(kept), 1)


def _example_sum(values: Streams) -> Float[Array, " B"]:
    sums = [jnp.sum(v, axis=tuple(range(1, v.ndim))) for v in jax.tree.leaves(values)]
    return sum(sums[1:], start=sums[0])
