"""Optimizers by name. Gradients come in clipped; what comes out is added to weights.

In all of them weight decay is decoupled, multiplied by the learning rate, and acts on
kernels only, and a stack of layers is updated as its layers would be one by one.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import optax
from optax import contrib

from dit_jax.training import layers

FACTOR_FROM = 128  # Adafactor: smaller dims than this are not worth factoring
MATCH_RMS = 0.2  # Muon: the RMS of an update of AdamW; arXiv:2502.16982, section 2.2


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the optimizers are made from; each reads the ones that its method has.

    logical_axes: the names of the dims of every parameter, as a tree like them.
    """

    learning_rate: optax.Schedule
    logical_axes: Any
    b1: float
    b2: float
    eps: float
    momentum: float
    weight_decay: float


def adamw(settings: Settings) -> optax.GradientTransformation:
    """Loshchilov & Hutter 2019, arXiv:1711.05101."""
    return optax.adamw(
        settings.learning_rate,
        b1=settings.b1,
        b2=settings.b2,
        eps=settings.eps,
        weight_decay=settings.weight_decay,
        mask=kernels,
    )


def lion(settings: Settings) -> optax.GradientTransformation:
    """The sign of a momentum. Chen et al. 2023, arXiv:2302.06675, algorithm 2."""
    return optax.lion(
        settings.learning_rate,
        b1=settings.b1,
        b2=settings.b2,
        weight_decay=settings.weight_decay,
        mask=kernels,
    )


def adafactor(settings: Settings) -> optax.GradientTransformation:
    """Second moments as rows x columns. Shazeer & Stern 2018, arXiv:1804.04235, alg. 4.

    The step is relative: the learning rate times the RMS of the parameter, at least
    1e-3. No first moment; the second one forgets as 1 - t^-0.8; updates of an RMS above
    1 are scaled down to it.
    """
    return optax.chain(
        optax.scale_by_factored_rms(min_dim_size_to_factor=FACTOR_FROM),
        layers.each_layer(optax.clip_by_block_rms(1.0), settings.logical_axes),
        layers.each_layer(optax.scale_by_param_block_rms(), settings.logical_axes),
        optax.add_decayed_weights(settings.weight_decay, kernels),
        optax.scale_by_learning_rate(settings.learning_rate),
    )


def muon(settings: Settings) -> optax.GradientTransformation:
    """Orthogonalised momentum for the kernels of the layers, AdamW for all the rest.

    Jordan et al. 2024 (five Newton-Schulz steps, Nesterov momentum debiased as Adam's),
    scaled to the RMS of AdamW's updates so that both share a learning rate and a decay;
    Liu et al. 2025, arXiv:2502.16982, eq. 4.
    """
    matrices = optax.chain(
        contrib.scale_by_muon(
            beta=settings.momentum, weight_dimension_numbers=_last_two_dims
        ),
        optax.stateless(_match_rms),
        optax.add_decayed_weights(settings.weight_decay),
        optax.scale_by_learning_rate(settings.learning_rate),
    )
    labels = layers.map_with_names(_muon_label, settings.logical_axes)
    return optax.partition({"matrix": matrices, "rest": adamw(settings)}, labels)


OPTIMIZERS: dict[str, Callable[[Settings], optax.GradientTransformation]] = {
    "adafactor": adafactor,
    "adamw": adamw,
    "lion": lion,
    "muon": muon,
}


def kernels(params: Any) -> Any:
    """A tree of booleans: which parameters decay."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: path[-1].key == "kernel", params
    )


def _muon_label(path: tuple[str, ...], names: tuple[str | None, ...]) -> str:
    is_matrix = path[-1] == "kernel" and layers.is_stacked(names) and len(names) == 3
    return "matrix" if is_matrix else "rest"


def _last_two_dims(updates: Any) -> Any:
    """[layers, in, out]: every layer is a matrix of its own."""
    return jax.tree.map(lambda _: contrib.MuonDimensionNumbers(-2, -1), updates)


def _match_rms(updates: Any, params: Any) -> Any:
    del params
    return jax.tree.map(
        lambda leaf: leaf * (MATCH_RMS * math.sqrt(max(leaf.shape[-2:]))), updates
    )
