"""Discrete diffusion of facebookresearch/DiT: its tables, functions and samplers.

A case holds arguments of its `create_diffusion` and, by what it is given, is the tables
(nothing), the functions (a network's output) or a trajectory (a start). The network of
a trajectory is a formula, `stand_in`. Steps are counted among those that a respacing
keeps; the network alone hears the number of a step among all.
"""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jaxtyping import Array

from dit_jax.diffusion import betas, posteriors
from dit_jax.diffusion.losses import variational_loss
from dit_jax.diffusion.points import Grid
from dit_jax.diffusion.processes import Discrete
from dit_jax.diffusion.respacing import Respaced, kept_steps
from dit_jax.diffusion.samplers import Sampler
from dit_jax.diffusion.samplers.one_step import ddim, ddpm, euler
from dit_jax.diffusion.samplers.sampling import Bound, clipped, make_estimate, sample
from dit_jax.diffusion.streams import align
from dit_jax.diffusion.variational import Chain, Normal, prior_bpd
from dit_jax.errors import DataError
from dit_jax.evaluation.parity.golden import Case, Outputs, Runner, Uncovered
from dit_jax.types import Conditioning, DenoiseFn

OURS = "B C ... -> B ... C"
THEIRS = "B ... C -> B C ..."
THEIR_STATES = "S B ... C -> S B C ..."
SCHEDULES: dict[str, Callable[[int], betas.Betas]] = {
    # the betas of 1000 steps, larger where there are fewer
    "linear": lambda total: betas.linear(total, 0.1 / total, 20 / total),
    "squaredcos_cap_v2": betas.cosine,
}
DEFAULTS: dict[str, Any] = {
    "timestep_respacing": "",
    "noise_schedule": "linear",
    "use_kl": False,
    "sigma_small": False,
    "predict_xstart": False,
    "learn_sigma": True,
    "rescale_learned_sigmas": False,
    "diffusion_steps": 1000,
}
OF_EVERY_CASE = ("create_diffusion", "learn_sigma")
OF_SAMPLERS = ("sampler", "eta", "clip_denoised")
STARTS = ("x_T", "x_0", "x0", "x_start")


@dataclasses.dataclass(frozen=True)
class Reference:
    """What `create_diffusion` makes of its arguments, in our words."""

    steps: Respaced
    prediction: str
    variance: str
    bound: str

    @property
    def is_learned(self) -> bool:
        return self.variance == "learned_range"


def create_diffusion(arguments: Mapping[str, Any]) -> Reference:
    """Uncovered for an argument or a value that is none of the reference's."""
    require_known(arguments, DEFAULTS, "create_diffusion ")
    given = DEFAULTS | dict(arguments)
    for name, default in DEFAULTS.items():
        if isinstance(default, bool) and not isinstance(given[name], bool):
            raise Uncovered(f"create_diffusion {name} is {given[name]!r}, not a bool")
    total, schedule = given["diffusion_steps"], given["noise_schedule"]
    if not isinstance(total, int) or isinstance(total, bool) or total < 1:
        raise Uncovered(f"create_diffusion diffusion_steps is {total!r}")
    if schedule not in SCHEDULES:
        raise Uncovered(
            f"create_diffusion noise_schedule is {schedule!r}, known are "
            f"{', '.join(SCHEDULES)}"
        )
    spacing = given["timestep_respacing"]
    if spacing is None or spacing == []:
        spacing = ""
    if not isinstance(spacing, str | list):
        raise Uncovered(f"create_diffusion timestep_respacing is {spacing!r}")
    whole = Discrete.of_betas(SCHEDULES[schedule](total))
    fixed = "fixed_small" if given["sigma_small"] else "fixed_large"
    squares = "rescaled_mse" if given["rescale_learned_sigmas"] else "mse"
    return Reference(
        steps=Respaced(whole, kept_steps(total, spacing)),
        prediction="x0" if given["predict_xstart"] else "eps",
        variance="learned_range" if given["learn_sigma"] else fixed,
        bound="rescaled_kl" if given["use_kl"] else squares,
    )


def require_known(
    given: Mapping[str, Any], known: Collection[str], what: str = ""
) -> None:
    """Uncovered, with its value, for an option that nothing here reads."""
    for name, value in given.items():
        if name not in known:
            raise Uncovered(f"{what}option {name} = {value!r} is not covered")


def _reference(case: Case, more: Collection[str] = ()) -> Reference:
    """learn_sigma is told beside the arguments, among them, or both."""
    require_known(case.config, {*OF_EVERY_CASE, *more})
    arguments = dict(case.config.get("create_diffusion", {}))
    if "learn_sigma" in case.config:
        told = case.config["learn_sigma"]
        if arguments.setdefault("learn_sigma", told) != told:
            raise Uncovered(
                f"create_diffusion learn_sigma is {arguments['learn_sigma']!r} and "
                f"the case's is {told!r}"
            )
    return create_diffusion(arguments)


def tables(case: Case) -> Outputs:
    """Its columns, the first step first."""
    steps = _reference(case).steps
    grid = Chain(steps.process).grid
    of_x, of_x0 = posteriors.posterior_mean(grid)
    falling = {
        "betas": posteriors.forward_variance(grid),
        "alphas_cumprod": grid.calls.alpha**2,
        "alphas_cumprod_prev": grid.ends.alpha**2,
        "sqrt_alphas_cumprod": grid.calls.alpha,
        "sqrt_one_minus_alphas_cumprod": grid.calls.sigma,
        "log_one_minus_alphas_cumprod": 2 * np.log(grid.calls.sigma),
        "sqrt_recip_alphas_cumprod": 1 / grid.calls.alpha,
        "sqrt_recipm1_alphas_cumprod": grid.calls.noise_to_signal,
        "posterior_variance": posteriors.posterior_variance(grid),
        "posterior_log_variance_clipped": np.log(
            posteriors.clipped_posterior_variance(grid)
        ),
        "posterior_mean_coef1": of_x0,
        "posterior_mean_coef2": of_x,
    }
    return {name: column[::-1] for name, column in falling.items()} | {
        "alphas_cumprod_next": steps.encoding_grid().ends.alpha ** 2,
        "timestep_map": steps.kept,
    }


def functions(case: Case) -> Outputs:
    """Of noised data at some steps, where the network has put out what is given."""
    reference = _reference(case)
    chain = Chain(reference.steps.process)
    step = jnp.asarray(case.inputs["t"], jnp.int32)
    last = chain.process.num_steps - 1
    if step.min() < 0 or step.max() > last:
        raise DataError(f"in/t runs from {step.min()} to {step.max()} of 0 to {last}")
    x0, eps, out = (
        rearrange(jnp.asarray(case.inputs[name]), OURS)
        for name in ("x_start", "noise", "model_output")
    )
    channels = x0.shape[-1] * (2 if reference.is_learned else 1)
    if out.shape[-1] != channels:
        raise DataError(
            f"in/model_output has {out.shape[-1]} channels; with {reference.variance} "
            f"variance it has {channels}"
        )
    xt = chain.add_noise(x0, eps, step)
    found = {"q_sample": xt}
    found |= _named("q_{}", chain.forward(x0, step))
    posterior = _named("posterior_{}", chain.posterior(x0, xt, step))
    clipped_log = posterior.pop("posterior_log_variance")
    found |= posterior | {"posterior_log_variance_clipped": clipped_log}
    predicted, said = jnp.split(out, [x0.shape[-1]], axis=-1)
    for name, bound in (("clip_false", None), ("clip_true", clipped().apply)):
        model = chain.reverse(
            reference.prediction, reference.variance, predicted, said, xt, step, bound
        )
        found |= _named(f"p/{name}/{{}}", model.normal)
        found[f"p/{name}/pred_xstart"] = model.x0
    losses = variational_loss(
        lambda *_: out,
        chain.process,
        reference.prediction,
        loss_in=reference.prediction,
        variance=reference.variance,
        bound=reference.bound,
        x0=x0,
        eps=eps,
        t=step / last,
        conditioning=Conditioning(),
    )
    found = {
        name: rearrange(jnp.broadcast_to(array, x0.shape), THEIRS)
        for name, array in found.items()
    }
    found |= {
        f"loss/{name}": loss
        for name, loss in losses._asdict().items()
        if loss is not None and (name == "loss" or losses.mse is not None)
    }
    found["prior_bpd"] = prior_bpd(chain, x0)
    return {name: np.asarray(array) for name, array in found.items()}


def _named(pattern: str, normal: Normal) -> dict[str, Array]:
    return {pattern.format(name): value for name, value in normal._asdict().items()}


def trajectory(case: Case) -> Outputs:
    """Every state of a sampler, and the x0 believed before it."""
    reference = _reference(case, OF_SAMPLERS)
    sampler, grid = _walk(case, reference)
    (start,) = (name for name in STARTS if name in case.inputs)
    x = rearrange(jnp.asarray(case.inputs[start]), OURS)
    noise = noise_of(case, (len(grid), *case.inputs[start].shape))
    told = Conditioning()
    denoise_fn = stand_in(reference.steps.whole.num_steps, says=reference.is_learned)
    bound = bound_of(case)
    states = sample(
        denoise_fn,
        sampler,
        grid,
        x,
        prediction=reference.prediction,
        conditioning=told,
        noise=noise,
        bound=bound,
        keep=True,
    )
    estimate = make_estimate(denoise_fn, reference.prediction, told, bound)
    before = jnp.concatenate([x[None], states[:-1]])
    calls = jax.tree.map(lambda column: jnp.asarray(column, jnp.float32), grid.calls)
    believed = jax.vmap(estimate)(before, calls).x0
    found = {"samples": states, "pred_xstart": believed}
    found = {name: rearrange(array, THEIR_STATES) for name, array in found.items()}
    found["timestep_map"] = reference.steps.kept
    return {name: np.asarray(array) for name, array in found.items()}


def _walk(case: Case, reference: Reference) -> tuple[Sampler, Grid]:
    name, eta = case.config.get("sampler"), case.config.get("eta", 0.0)
    if not isinstance(eta, float | int):
        raise Uncovered(f"option eta = {eta!r} is not a number")
    if name == "ddim":
        return partial(ddim, eta=eta), reference.steps.grid()
    if eta != 0:
        raise Uncovered(f"option eta = {eta!r} with the sampler {name!r}")
    if name == "ddpm":
        return partial(ddpm, variance=reference.variance), reference.steps.grid()
    if name == "ddim_reverse":
        return euler, reference.steps.encoding_grid()
    raise Uncovered(f"option sampler = {name!r} is not covered")


def bound_of(case: Case) -> Bound | None:
    """What x0 is clipped to; the reference clips where nothing is said."""
    is_clipped = case.config.get("clip_denoised", True)
    if not isinstance(is_clipped, bool):
        raise Uncovered(f"option clip_denoised = {is_clipped!r} is not a bool")
    return clipped() if is_clipped else None


def noise_of(case: Case, shape: tuple[int, ...]) -> Callable[[Array], Array] | None:
    """The draws by number, channels last; None where the case has none.

    shape: of the draws of all steps, channels third from the end.
    """
    if "noise" not in case.inputs:
        return None
    draws = case.inputs["noise"]
    if draws.shape != shape:
        raise DataError(f"in/noise is {draws.shape}; the steps take {shape}")
    rows = rearrange(jnp.asarray(draws), "... C H W -> ... H W C")
    return lambda number: rows[number]


def stand_in(num_steps: int, *, says: bool) -> DenoiseFn:
    """The formula that is the network of every trajectory; says: also a variance."""

    def denoise(xt: Array, t: Array, told: Conditioning) -> Array:
        del told
        step = align(jnp.round(t * (num_steps - 1)), xt)
        out = jnp.tanh(0.3 * xt) + 0.1 * step / 1000
        return jnp.concatenate([out, jnp.sin(0.5 * xt)], -1) if says else out

    return denoise


def runner(case: Case) -> Runner | None:
    """By what the case is given; None where nothing covers it."""
    if case.system != "gaussian_diffusion" or case.params:
        return None
    if not case.inputs:
        return tables
    if "model_output" in case.inputs:
        return functions
    return trajectory if sum(name in case.inputs for name in STARTS) == 1 else None
