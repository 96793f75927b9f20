"""What one training step computes and holds, apart from any machine.

Letters: L layers, D width, F hidden width of the MLP, N tokens of an example, M tokens
of its context (text), P numbers of a patch. FLOPs are those of matrix products, two a
multiply-add, forward, of one example; parts that end in `scores` are attention's
products of queries with keys and of weights with values, all others are linear maps.
Forward and backward are three forwards; what a policy computes again is extra.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict as Config

from dit_jax import config as config_lib
from dit_jax import types
from dit_jax.inference import denoiser
from dit_jax.models import presets
from dit_jax.models.patches import token_grid
from dit_jax.models.presets import COUNTED
from dit_jax.models.values import num_extra
from dit_jax.parallel import sharding

LAYERS = "layers"  # the leading dim of what is scanned over
MODULATION = "modulation"  # computed for all layers before the scan, never gathered
SCORES = "scores"
CONTEXT = ("context", "conditioning")  # branches that attend to a short sequence


@dataclasses.dataclass(frozen=True)
class Parameter:
    """axes: the logical names of its dims, see `parallel.sharding.RULES`."""

    path: str
    shape: tuple[int, ...]
    axes: tuple[str | None, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def hoisted(self) -> bool:
        return MODULATION in self.axes

    @property
    def num_layers(self) -> int:
        """How many layers of the scan it holds; 0 of one outside."""
        return self.shape[0] if self.axes[0] == LAYERS and not self.hoisted else 0


@dataclasses.dataclass(frozen=True)
class Workload:
    """One example through one model.

    flops: forward, by part. tokens: of the sequence that blocks see. modulation:
    numbers of all layers' modulations of an example. example_numbers: of its latents.
    """

    name: str
    parameters: tuple[Parameter, ...]
    flops: Mapping[str, float]
    tokens: int
    depth: int
    width: int
    hidden: int
    num_heads: int
    modulation: int
    example_numbers: int

    @property
    def num_params(self) -> int:
        return sum(parameter.size for parameter in self.parameters)

    @property
    def head_dim(self) -> int:
        return self.width // self.num_heads

    @property
    def scores_flops(self) -> float:
        """Of tokens among themselves. Those with a context are plain products, and
        count as linear maps do."""
        return sum(
            (
                flops
                for part, flops in self.flops.items()
                if part.endswith(SCORES) and part.partition("/")[0] not in CONTEXT
            ),
            start=0.0,
        )

    @property
    def linear_flops(self) -> float:
        return self.forward_flops - self.scores_flops

    @property
    def forward_flops(self) -> float:
        return sum(self.flops.values(), start=0.0)

    @property
    def train_flops(self) -> float:
        """Of one example, nothing computed twice: what MFU counts."""
        return 3 * self.forward_flops

    def stored_scores(self, all_are_written: bool) -> float:
        """Scores of one layer, over all heads, that are written to memory: pairs of a
        query and a key. Attention to a context always writes them."""
        stored = sum(
            flops
            for part, flops in self.flops.items()
            if part.endswith(SCORES)
            and (all_are_written or part.partition("/")[0] in CONTEXT)
        )
        return stored / (4 * self.head_dim * self.depth)

    def params_by_part(self) -> dict[str, int]:
        parts: dict[str, int] = {}
        for parameter in self.parameters:
            names = parameter.path.split("/")
            part = names[2] if names[0] == "stack" and len(names) > 3 else names[0]
            parts[part] = parts.get(part, 0) + parameter.size
        return parts


def of_model(
    model: Mapping[str, Any],
    *,
    latent_shape: tuple[int, int, int, int],
    num_classes: int,
    given_frames: int,
) -> Workload:
    """The model of a resolved `model.*` section, counted off its own trace.

    Attention is traced in its plain form, whose products every other form computes.
    """
    plain = {**model, **COUNTED, "dtype": "float32"}
    values = {key: plain[key] for key in plain if key not in ("preset", "dtype")}
    cost = presets.cost(
        plain["preset"],
        latent_shape,
        num_classes=num_classes,
        given_frames=given_frames,
        **values,
    )
    network = denoiser.build(
        plain,
        latent_shape=latent_shape,
        num_classes=num_classes,
        constrain=types.keep_placement,
    )
    parameters = _parameters(network.abstract_params, network.logical_axes)
    patches = math.prod(token_grid(latent_shape[:3], tuple(model["patch"])))
    return Workload(
        name=model["preset"],
        parameters=parameters,
        flops={part or "stack": 2.0 * macs for part, macs in cost.macs.items()},
        tokens=patches + num_extra(model),
        depth=model["depth"],
        width=model["width"],
        hidden=int(model["width"] * model["mlp_ratio"]),
        num_heads=model["num_heads"],
        modulation=_modulation(parameters, model["depth"]),
        example_numbers=math.prod(latent_shape),
    )


def of_config(
    config: Config,
    latent_shape: tuple[int, int, int, int],
    num_classes: int,
) -> Workload:
    """The model of a resolved config."""
    return of_model(
        config_lib.section(config, "model"),
        latent_shape=latent_shape,
        num_classes=num_classes,
        given_frames=config.train.given_frames,
    )


def _parameters(abstract: Any, logical_axes: Any) -> tuple[Parameter, ...]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(abstract)
    axes = jax.tree.leaves(logical_axes, is_leaf=lambda node: isinstance(node, tuple))
    return tuple(
        Parameter(sharding.path_name(path), leaf.shape, names)
        for (path, leaf), names in zip(leaves, axes, strict=True)
    )


def _modulation(parameters: tuple[Parameter, ...], depth: int) -> int:
    """Rows of modulation of a layer, times layers, times width: of one example."""
    rows = [
        p.shape[-1] for p in parameters if p.hoisted and "/head/" not in f"/{p.path}/"
    ]
    return depth * max(rows, default=0)


def transformer(
    name: str,
    *,
    depth: int,
    width: int,
    num_heads: int,
    tokens: int,
    hidden: int,
    gated_mlp: bool = False,
    context: int = 0,
    modulated: bool = True,
    shared_modulation: bool = False,
    patch_numbers: int = 64,
) -> Workload:
    """A model that this code does not build, by the formulas of its matrix products.

    Linear maps L N (8 D^2 + 4 D F), 6 D F for a gated MLP; attention 4 N^2 D L; with
    M context tokens L (4 N M D + 4 N D^2 + 4 M D^2); modulation 12 D^2 L an example,
    once where all layers share one projection.
    """
    L, D, F, N, M = depth, width, hidden, tokens, context
    maps = 3 if gated_mlp else 2
    flops = {
        "attention": 8.0 * L * N * D * D,
        "attention/scores": 4.0 * L * N * N * D,
        "mlp": 2.0 * maps * L * N * D * F,
    }
    shapes = [
        ("stack/blocks/attention/qkv", (L, D, 3 * D), (LAYERS, "embed", "heads")),
        ("stack/blocks/attention/out", (L, D, D), (LAYERS, "heads_in", "stream")),
        ("stack/blocks/mlp/hidden", (L, D, (maps - 1) * F), (LAYERS, "embed", "mlp")),
        ("stack/blocks/mlp/out", (L, F, D), (LAYERS, "mlp_in", "stream")),
    ]
    if context:
        flops["context"] = 4.0 * L * D * D * (N + M)
        flops["context/scores"] = 4.0 * L * N * M * D
        key_value = (LAYERS, "embed", "heads")
        shapes += [
            ("stack/blocks/context/query", (L, D, D), (LAYERS, "embed", "heads")),
            ("stack/blocks/context/key_value", (L, D, 2 * D), key_value),
            ("stack/blocks/context/out", (L, D, D), (LAYERS, "heads_in", "stream")),
        ]
    if modulated:
        projections = 1 if shared_modulation else L
        flops["conditioning"] = 12.0 * projections * D * D
        kernel = (projections, D, 6 * D)
        shapes += [("conditioning/kernel", kernel, (LAYERS, "signal", MODULATION))]
    return Workload(
        name=name,
        parameters=tuple(Parameter(*shape) for shape in shapes),
        flops=flops,
        tokens=N,
        depth=L,
        width=D,
        hidden=F,
        num_heads=num_heads,
        modulation=6 * D * L if modulated else 0,
        example_numbers=N * patch_numbers,
    )


def abstract_params(workload: Workload) -> dict[str, jax.ShapeDtypeStruct]:
    """The parameters by path, as shapes."""
    return {
        parameter.path: jax.ShapeDtypeStruct(parameter.shape, jnp.float32)
        for parameter in workload.parameters
    }
