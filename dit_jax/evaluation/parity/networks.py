"""Networks of other repositories: build ours from their arguments, run their inputs.

A runner reads a case and returns our outputs under the case's names. It is chosen by
the case's system and by the inputs it holds, never by a file's name.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import nnx
from jaxtyping import Array

from dit_jax import models
from dit_jax.diffusion.guidance import classifier_free
from dit_jax.evaluation.parity.golden import Case, Outputs, Runner, Uncovered
from dit_jax.types import Conditioning
from dit_jax.weights import mapping, tables
from dit_jax.weights.design import Design
from dit_jax.weights.systems import SYSTEMS, System

IMAGE = "B C H W -> B 1 H W C"
VIDEO = "B T C H W -> B T H W C"
DDPM_BETAS = np.linspace(1e-4, 0.02, 1000)  # of every reference that adds noise here
INPUT_OF_MASKS = "model_input_of_mask_"


def _as_it_is(out: Array, channels: int) -> Array:
    del channels
    return out


@dataclasses.dataclass(frozen=True)
class Convention:
    """How a reference is called, beyond its names.

    output: (ours, channels of the input) -> what its forward pass returns.
    guided: how many channels its guidance moves, None without one.
    one_label: it is told no label and takes row 0.
    """

    output: Callable[[Array, int], Array] = _as_it_is
    guided: int | None = None
    one_label: bool = False


CONVENTIONS: dict[str, Convention] = {
    "dit": Convention(guided=3),
    # the variance is dropped, and velocity points to the data
    "sit": Convention(lambda out, channels: -out[..., :channels], guided=3),
    "vdt": Convention(one_label=True),
    "vdt_concat": Convention(),
    "latte": Convention(guided=4),
    "uvit": Convention(),
    "uvit_t2i": Convention(),
    "unidiffuser": Convention(),
    "unidiffuser_v1": Convention(),
}


class Network:
    """A reference's network with its weights in our modules; times are as given."""

    def __init__(self, case: Case):
        self.system: System = SYSTEMS[case.system]
        self.design: Design = self.system.design(case.config["model"])
        abstract = nnx.eval_shape(lambda: self.design.build(time="as_given"))
        self.graphdef, shapes = models.split(abstract)
        self.rules = self.system.rules(self.design)
        self.convention = CONVENTIONS[case.system]
        fixed = tables.make(self.system.fixed, self.design)
        # a reference's state has its tables too
        theirs = {name: case.params[name] for name in {*case.params, *fixed}}
        ours = mapping.to_ours(self.rules, theirs, shapes, tuple(fixed))
        tables.check(theirs, fixed)
        self.params = jax.tree.map(jnp.asarray, ours)

    def __call__(self, params: Any, x: Any, t: Any, told: Conditioning) -> Any:
        with jax.default_matmul_precision("highest"):
            return models.apply(self.graphdef, params, x, t, told)


def _layout(x: np.ndarray | Array) -> str:
    return IMAGE if x.ndim == 4 else VIDEO


def _back(layout: str) -> str:
    return " -> ".join(reversed(layout.split(" -> ")))


def _told(case: Case, batch: int) -> Conditioning:
    """The label and text of a case."""
    told = {}
    if "y" in case.inputs:
        told["label"] = jnp.asarray(case.inputs["y"], jnp.int32)
    elif CONVENTIONS[case.system].one_label:
        told["label"] = jnp.zeros(batch, jnp.int32)
    if "context" in case.inputs:
        told["text"] = jnp.asarray(case.inputs["context"])
    return Conditioning(**told)


def _runs(case: Case, network: Network, x: np.ndarray, told: Conditioning) -> Array:
    """The plain forward pass on inputs in the reference's layout."""
    layout = _layout(x)
    return rearrange(
        _forward(case, network, network.params, jnp.asarray(x), told), _back(layout)
    )


def _forward(
    case: Case, network: Network, params: Any, x: Array, told: Conditioning
) -> Array:
    times = "t" if "t" in case.inputs else "timesteps"
    t = jnp.asarray(case.inputs[times], jnp.float32)
    latents = rearrange(x, _layout(x))
    out = network(params, latents, t, told)
    return network.convention.output(out, latents.shape[-1])


def forward(case: Case) -> Outputs:
    """x, times and conditioning in, the prediction out."""
    network, x = Network(case), case.inputs["x"]
    return {"out": np.asarray(_runs(case, network, x, _told(case, len(x))))}


def guided(case: Case) -> Outputs:
    """The reference's guidance: the first half of x twice, some channels guided.

    The second half of y is null; `plain` is the same forward pass without guidance.
    """
    network, x = Network(case), case.inputs["x"]
    t, told = case.inputs["t"], _told(case, len(x))
    count, channels = len(x) // 2, network.convention.guided
    if not np.array_equal(t[:count], t[count:]):
        raise Uncovered(f"guidance at t = {t[:count]} and {t[count:]}, not at one time")
    twice = np.concatenate([x[:count], x[:count]])
    plain = _runs(case, network, twice, told)
    cond, null = (
        jax.tree.map(lambda leaf, rows=rows: leaf[rows], told)
        for rows in (slice(count), slice(count, None))
    )

    def denoise(x: Array, t: Array, told: Conditioning) -> Array:
        return network.convention.output(
            network(network.params, x, t, told), x.shape[-1]
        )

    denoise_fn = classifier_free(
        denoise, lambda _: null, case.config["cfg_scale"], channels=channels
    )
    latents = rearrange(jnp.asarray(x[:count]), _layout(x))
    mixed = denoise_fn(latents, jnp.asarray(t[:count], jnp.float32), cond)
    rest = rearrange(plain, _layout(x))[count:, ..., channels:]
    both = [mixed, jnp.concatenate([mixed[..., :channels], rest], axis=-1)]
    out = rearrange(jnp.concatenate(both), _back(_layout(x)))
    return {"out": np.asarray(out), "plain": np.asarray(plain)}


def gradients(case: Case) -> Outputs:
    """Of sum(out * cotangent), by x and by parameters under the reference's names."""
    network, x = Network(case), jnp.asarray(case.inputs["x"])
    told = _told(case, len(x))
    cotangent = jnp.asarray(case.inputs["cotangent"])

    def total(params: Any, x: Array) -> tuple[Array, Array]:
        out = _forward(case, network, params, x, told)
        out = rearrange(out, _back(_layout(x)))
        return jnp.sum(out * cotangent), out

    (value, out), (by_params, by_x) = jax.value_and_grad(
        total, argnums=(0, 1), has_aux=True
    )(network.params, x)
    theirs = mapping.to_theirs(network.rules, by_params)
    found = {"out": out, "sum": value[None], "grad_x": by_x}
    found |= {f"grad/{name}": gradient for name, gradient in theirs.items()}
    return {name: np.asarray(array) for name, array in found.items()}


def masked(case: Case) -> Outputs:
    """Clean latents where the mask is 0, one forward pass a mask (VDT).

    Of the model's input those of some masks may be recorded, which the name counts.
    """
    network = Network(case)
    x0, noise, mask = (case.inputs[name] for name in ("x0", "noise", "mask"))
    t = case.inputs["t"]
    alphas = np.cumprod(1 - DDPM_BETAS)[t].reshape(-1, 1, 1, 1, 1)
    x_t = np.sqrt(alphas) * x0 + np.sqrt(1 - alphas) * noise
    mixed = np.where(mask[:, :, None], x_t, x0).astype(np.float32)
    times = jnp.asarray(np.broadcast_to(t, len(mask)), jnp.float32)
    latents = rearrange(jnp.asarray(mixed), VIDEO)
    out = network(network.params, latents, times, _told(case, len(mask)))
    found = {
        "x_t": x_t.astype(np.float32),
        "out": np.asarray(rearrange(out, _back(VIDEO))),
    }
    for name in case.outputs:
        if name.startswith(INPUT_OF_MASKS):
            numbers = name.removeprefix(INPUT_OF_MASKS).split("_and_")
            found[name] = mixed[[int(number) for number in numbers]]
    return found


def image_text(case: Case) -> Outputs:
    """UniDiffuser: image, CLIP vector and text in, each with the time of its stream."""
    network = Network(case)
    latents = rearrange(jnp.asarray(case.inputs["img"]), IMAGE)
    x = {
        "image": {"latents": latents, "clip": jnp.asarray(case.inputs["clip_img"])},
        "text": jnp.asarray(case.inputs["text"]),
    }
    t = {
        stream: jnp.asarray(case.inputs[name], jnp.float32)
        for stream, name in (("image", "t_img"), ("text", "t_text"))
    }
    told = {}
    if "data_type" in case.inputs:
        told["label"] = jnp.asarray(case.inputs["data_type"], jnp.int32)
    out = network(network.params, x, t, Conditioning(**told))
    found = {
        "img_out": rearrange(out["image"]["latents"], _back(IMAGE)),
        "clip_img_out": out["image"]["clip"],
        "text_out": out["text"],
    }
    return {name: np.asarray(array) for name, array in found.items()}


def runner(case: Case) -> Runner | None:
    """By system and by what the case holds; None where nothing covers it."""
    if case.system not in SYSTEMS or not case.params:
        return None
    keys = set(case.inputs)
    if "mask" in keys:
        return (
            masked if {"x0", "noise", "t"} <= keys and "out" in case.outputs else None
        )
    if "img" in keys:
        return image_text
    if "x" not in keys:
        return None
    if "cotangent" in keys:
        return gradients
    if "cfg_scale" not in case.config:
        return forward
    return None if CONVENTIONS[case.system].guided is None else guided
