"""The network of a config, apart from its weights: one place builds it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from dit_jax import models, rng
from dit_jax.errors import choose
from dit_jax.models import presets
from dit_jax.models.designs import Model
from dit_jax.types import Conditioning, Constrain, DenoiseFn

TOLD_BY_DATA = ("label", "text", "text_mask", "pooled")
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


@dataclasses.dataclass(frozen=True)
class Denoiser:
    """Structure and shapes of a network; `init(seed)` makes its parameters.

    abstract_params: nested dict of shaped leaves; logical_axes: the same of names;
    reads: the fields of a conditioning that it uses.
    """

    graphdef: Any
    abstract_params: Any
    logical_axes: Any
    init: Callable[[int], Any]
    num_classes: int
    reads: frozenset[str]
    constrain: Constrain

    def hears(self, conditioning: Conditioning) -> Conditioning:
        """`conditioning` without labels and text that the network has no part for: a
        dataset may tell more than a model hears."""
        unheard = {name: None for name in TOLD_BY_DATA if name not in self.reads}
        return dataclasses.replace(conditioning, **unheard)

    def bind(self, params: Any, **options: Any) -> DenoiseFn:
        """Parameters -> `(xt, t, conditioning) -> prediction`; channels beyond those of
        xt are a learned variance."""

        def denoise(xt: Any, t: Any, conditioning: Conditioning) -> Any:
            ready = jax.tree.map(self._ready, params, self.logical_axes)
            return models.apply(self.graphdef, ready, xt, t, conditioning, **options)

        return denoise

    def _ready(self, weight: Any, dims: tuple[str | None, ...]) -> Any:
        """Weights of layers are gathered by the stack, one layer at a time, and those
        of modulations never."""
        if {"layers", "modulation"} & {*dims}:
            return weight
        return self.constrain.gather(weight, dims)


def resolve(model: dict[str, Any]) -> dict[str, Any]:
    """The `model.*` section with every placeholder filled by its preset.

    dtype "auto" becomes bfloat16 on accelerators and float32 on CPU, where bfloat16 is
    slower.
    """
    preset, dtype = model["preset"], model["dtype"]
    overrides = {k: v for k, v in model.items() if k not in ("preset", "dtype")}
    if dtype == "auto":
        dtype = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    return presets.resolve(preset, overrides) | {"preset": preset, "dtype": dtype}


def build(
    model: dict[str, Any],
    *,
    latent_shape: tuple[int, int, int, int],
    num_classes: int,
    constrain: Constrain,
) -> Denoiser:
    """The denoiser of a resolved `model.*` section. Allocates nothing."""
    overrides = {k: v for k, v in model.items() if k not in ("preset", "dtype")}
    dtype = choose(DTYPES, model["dtype"], "model.dtype")

    def make(seed: int) -> Model:
        return presets.build(
            model["preset"],
            latent_shape=latent_shape,
            num_classes=num_classes,
            constrain=constrain,
            dtype=dtype,
            rngs=nnx.Rngs(rng.stream(seed, "init", 0)),
            **overrides,
        )

    abstract = nnx.eval_shape(lambda: make(0))
    graphdef, abstract_params = models.split(abstract)
    return Denoiser(
        graphdef=graphdef,
        abstract_params=abstract_params,
        logical_axes=models.logical_axes(abstract),
        init=lambda seed: models.split(make(seed))[1],
        num_classes=num_classes,
        reads=abstract.reads,
        constrain=constrain,
    )
