"""What VDT does with its network: sampling and training under a mask, and sampling
after given frames.

Facts of RERV/VDT@cdbad2b and, for given frames, VDT-2023/VDT@955d146. Both are DDPM
with a learned variance on DiT's process.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jaxtyping import Array

from dit_jax.diffusion.losses import squared_errors
from dit_jax.diffusion.samplers.one_step import ddpm
from dit_jax.diffusion.samplers.sampling import sample
from dit_jax.diffusion.streams import example_mean, split_variance
from dit_jax.diffusion.variational import Chain, bound_terms
from dit_jax.diffusion.weightings import none
from dit_jax.evaluation.parity import gaussian_diffusion
from dit_jax.evaluation.parity.gaussian_diffusion import Reference
from dit_jax.evaluation.parity.golden import Case, Outputs, Runner
from dit_jax.evaluation.parity.networks import VIDEO, Network
from dit_jax.types import Conditioning, DenoiseFn
from dit_jax.weights import mapping

THEIRS = "... T H W C -> ... T C H W"
MASK = "B T H W -> B T H W 1"


def _ours(case: Case, name: str, pattern: str = VIDEO) -> Array:
    return rearrange(jnp.asarray(case.inputs[name], jnp.float32), pattern)


def _reference(case: Case, *options: str) -> Reference:
    gaussian_diffusion.require_known(case.config, {"model", *options})
    spacing = case.config.get("respacing", "")
    return gaussian_diffusion.create_diffusion({"timestep_respacing": spacing})


def _hearing_steps(network: Network, reference: Reference) -> Callable[..., Array]:
    """`(params, xt, t, told) -> prediction`; theirs hears the number of a step."""
    last = reference.steps.whole.num_steps - 1

    def denoise(params: Any, xt: Array, t: Array, told: Conditioning) -> Array:
        return network(params, xt, jnp.round(t * last), told)

    return denoise


def _sampled(
    case: Case, reference: Reference, denoise_fn: DenoiseFn, told: Conditioning
) -> np.ndarray:
    """Every state on the way from z."""
    grid = reference.steps.grid()
    states = sample(
        denoise_fn,
        partial(ddpm, variance=reference.variance),
        grid,
        _ours(case, "z"),
        prediction=reference.prediction,
        conditioning=told,
        noise=gaussian_diffusion.noise_of(case, (len(grid), *case.inputs["z"].shape)),
        bound=gaussian_diffusion.bound_of(case),
        keep=True,
    )
    return np.asarray(rearrange(states, THEIRS))


def masked_sampling(case: Case) -> Outputs:
    """The network sees clean latents where the mask is 0; the state is left alone."""
    reference = _reference(case, "respacing", "clip_denoised")
    network = Network(case)
    given, mask = _ours(case, "raw_x"), _ours(case, "mask", MASK)
    denoise = _hearing_steps(network, reference)

    def mixed(xt: Array, t: Array, told: Conditioning) -> Array:
        return denoise(network.params, jnp.where(mask > 0, xt, given), t, told)

    told = Conditioning(label=jnp.zeros(len(given), jnp.int32))
    return {"samples": _sampled(case, reference, mixed, told)}


def masked_losses(case: Case) -> Outputs:
    """Squared errors count as 0 where a latent is given, in a mean over everything;
    the bound is that of the whole clip, as if nothing were given."""
    reference = _reference(case)
    network, chain = Network(case), Chain(reference.steps.process)
    x0, eps = _ours(case, "x0"), _ours(case, "noise")
    mask, step = _ours(case, "mask", MASK), jnp.asarray(case.inputs["t"], jnp.int32)
    xt = chain.add_noise(x0, eps, step)
    told = Conditioning(label=jnp.zeros(len(x0), jnp.int32))
    denoise = _hearing_steps(network, reference)
    c, prediction = chain.coefficients(step, x0), reference.prediction

    def losses(params: Any) -> tuple[Array, dict[str, Array]]:
        seen, t = jnp.where(mask > 0, xt, x0), chain.times_of(step)
        out, said = split_variance(denoise(params, seen, t, told), x0)
        errors = squared_errors(prediction, prediction, none, c, x0, eps, xt, out)
        terms = bound_terms(
            chain,
            prediction,
            reference.variance,
            out=jax.lax.stop_gradient(out),
            said=said,
            x0=x0,
            xt=xt,
            step=step,
        )
        mse, vb = example_mean(mask * errors, None), example_mean(terms, None)
        parts = {"loss/mse": mse, "loss/vb": vb, "loss/loss": mse + vb}
        return jnp.mean(mse + vb), parts

    gradient, found = jax.grad(losses, has_aux=True)(network.params)
    theirs = mapping.to_theirs(network.rules, gradient)
    found |= {f"grad/{name}": array for name, array in theirs.items()}
    return {name: np.asarray(array) for name, array in found.items()}


def after_frames(case: Case) -> Outputs:
    """Clean frames in front of those that are sampled, one time for all."""
    reference = _reference(case, "respacing", "clip_denoised")
    network = Network(case)
    frames, z = _ours(case, "condition_frames"), _ours(case, "z")
    label = jnp.asarray(case.inputs["y"], jnp.int32)
    denoise = partial(_hearing_steps(network, reference), network.params)
    first = jnp.full(len(z), reference.steps.grid().calls.t[0], jnp.float32)
    whole = jnp.concatenate([frames, z], axis=1)
    out = denoise(whole, first, Conditioning(label=label))
    told = Conditioning(label=label, frames=frames)
    return {
        "samples": _sampled(case, reference, denoise, told),
        "first_step_model_out": np.asarray(rearrange(out, THEIRS)),
    }


def runner(case: Case) -> Runner | None:
    """By system and by what the case is given; None where nothing covers it."""
    given = set(case.inputs)
    if case.system == "vdt" and {"raw_x", "z", "mask"} <= given:
        return masked_sampling
    if case.system == "vdt" and {"x0", "noise", "t", "mask"} <= given:
        return masked_losses
    if case.system == "vdt_concat" and {"condition_frames", "z", "y"} <= given:
        return after_frames
    return None
