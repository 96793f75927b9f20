"""Other programs' parameters become ours, and ours theirs: whole files at a time."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from flax import nnx
from jaxtyping import Shaped

from dit_jax import models
from dit_jax.errors import UserError, choose
from dit_jax.models import presets
from dit_jax.weights import arguments, mapping, tables
from dit_jax.weights.arguments import DIT_SIGNS, UVIT_SIGNS, Arguments, Given
from dit_jax.weights.design import Design
from dit_jax.weights.mapping import Named
from dit_jax.weights.systems import SYSTEMS

# What the weights were trained for, as `config.diffusion` says it.
NOISE = {"process": "ddpm_linear", "prediction": "eps", "loss": "eps"}
STABLE = NOISE | {"process": "ddpm_scaled_linear"}  # Stable Diffusion's betas
VELOCITY = {"process": "rectified_flow", "prediction": "velocity", "loss": "velocity"}
UNIFORM = {"times": "uniform"}
SDE = NOISE | {"process": "variance_preserving"}
HUGE = (
    "U-ViT's H models were trained on Stable Diffusion's steps, the smaller ones on "
    "the SDE: convert H with --config.diffusion.process=ddpm_scaled_linear"
)
# Values that say how to start or to compute, and not which function a model is.
INDIFFERENT = {
    "attention",
    "init",
    "label_scale",
    "levels",
    "remat",
    "rope_split",
    "rope_theta",
    "temporal_zero_init",
    "window",
    "zero_init_head",
}


@dataclasses.dataclass(frozen=True)
class Conversion:
    """arguments: reads the constructor's arguments off a file. signs: names that every
    file of the system has. family: of its presets. diffusion: a config's section.
    caution: what its users should know."""

    arguments: Callable[[Named, Given], Arguments]
    signs: tuple[str, ...]
    family: str
    diffusion: Mapping[str, str]
    caution: str | None = None


CONVERSIONS: dict[str, Conversion] = {
    "dit": Conversion(arguments.dit, DIT_SIGNS, "dit", NOISE | UNIFORM),
    "sit": Conversion(arguments.sit, DIT_SIGNS, "sit", VELOCITY | UNIFORM),
    "vdt": Conversion(arguments.vdt, DIT_SIGNS, "vdt", NOISE | UNIFORM),
    "latte": Conversion(
        arguments.latte, (*DIT_SIGNS, "temp_embed"), "latte", NOISE | UNIFORM
    ),
    "uvit": Conversion(arguments.uvit, UVIT_SIGNS, "uvit", SDE | UNIFORM, caution=HUGE),
    "uvit_t2i": Conversion(
        arguments.uvit_t2i,
        (*UVIT_SIGNS, "context_embed.weight"),
        "uvit",
        STABLE | UNIFORM,
    ),
}


def find(name: str, flag: str) -> Conversion:
    """The conversion of a system; UserError names the nearest, or says why not."""
    if name in SYSTEMS and name not in CONVERSIONS:
        raise UserError(
            f"{flag} is {name!r}, a network that parity runs but that no program can "
            f"sample or train yet; choose one of {', '.join(CONVERSIONS)}"
        )
    return choose(CONVERSIONS, name, flag)


def read_design(name: str, theirs: Named, given: Given) -> Design:
    """The design of a file; `given` are values of `model.*` that override it."""
    conversion = find(name, "the system")
    lacking = [sign for sign in conversion.signs if sign not in theirs]
    if lacking:
        raise UserError(
            f"the file lacks {', '.join(lacking)}, which every {name} has"
            f"{_likely(theirs)}; it has {mapping.listed(sorted(theirs))}"
        )
    design = SYSTEMS[name].design(conversion.arguments(theirs, given))
    design = dataclasses.replace(design, overrides={**design.overrides, **given})
    return _named(design, conversion.family)


def _likely(theirs: Named) -> str:
    likely = [
        name
        for name, conversion in CONVERSIONS.items()
        if all(sign in theirs for sign in conversion.signs)
    ]
    return f" (its names are those of {' or '.join(likely)})" if likely else ""


def _named(design: Design, family: str) -> Design:
    """Under the name of the published model of its sizes, where there is one."""
    values = design.values
    names = arguments.published(family, values["depth"], values["width"])
    if not names:
        return design
    patch = design.preset.partition("/")[2]
    return dataclasses.replace(design, preset=f"{names[0]}/{patch}")


def to_ours(name: str, design: Design, theirs: Named) -> Any:
    """Our parameters, numpy. UserError lists what is missing, unknown or of another
    shape, and refuses tables that are not those that we compute."""
    system = SYSTEMS[name]
    shapes = abstract(design)
    ours = mapping.to_ours(system.rules(design), theirs, shapes, system.fixed)
    tables.check(theirs, tables.make(system.fixed, design))
    return ours


def to_theirs(
    name: str, design: Design, params: Any
) -> dict[str, Shaped[np.ndarray, "..."]]:
    """All that the reference's strict loading asks for, fixed tables included.

    UserError when the reference has no such model: read back, the file would be
    another one.
    """
    system = SYSTEMS[name]
    theirs = mapping.to_theirs(system.rules(design), params)
    theirs |= tables.make(system.fixed, design)
    given = {key: design.values[key] for key in ("num_heads", "text_length")}
    try:
        read = read_design(name, theirs, given)
    except UserError as error:
        raise UserError(
            f"{name} has no model like this one ({error}); such weights can only be "
            "used here"
        ) from error
    _same_design(name, design, read)
    return theirs


def _same_design(name: str, ours: Design, read: Design) -> None:
    values, others = ours.values, read.values
    differing = [
        f"model.{key} is {values[key]!r} and there {others[key]!r}"
        for key in values
        if key not in INDIFFERENT and values[key] != others[key]
    ]
    if ours.latent_shape != read.latent_shape:
        differing.append(f"latents are {ours.latent_shape}, there {read.latent_shape}")
    if differing:
        raise UserError(
            f"{name} has no model like this one: {'; '.join(differing)}; such weights "
            "can only be used here"
        )


def abstract(design: Design) -> Any:
    """Shapes of our parameters."""
    return models.split(nnx.eval_shape(lambda: design.build()))[1]


def of_config(
    model: Mapping[str, Any], latent_shape: tuple[int, ...], num_classes: int
) -> Design:
    """The design of a resolved `model.*` section."""
    t, h, w, c = latent_shape
    overrides = {k: v for k, v in model.items() if k not in ("preset", "dtype")}
    presets.resolve(model["preset"], overrides)  # refuses what a file cannot hold
    return Design(model["preset"], overrides, (t, h, w, c), num_classes)
