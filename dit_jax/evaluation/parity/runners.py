"""Which code runs a golden case: the first family that knows its kind."""

from collections.abc import Callable

from dit_jax.evaluation.parity import (
    gaussian_diffusion,
    networks,
    schedulers,
    transport,
    vdt,
)
from dit_jax.evaluation.parity.golden import Case, Runner

FAMILIES: tuple[Callable[[Case], Runner | None], ...] = (
    networks.runner,
    gaussian_diffusion.runner,
    vdt.runner,
    transport.runner,
    schedulers.runner,
)


def runner(case: Case) -> Runner | None:
    """None where nothing covers the case."""
    return next(filter(None, (family(case) for family in FAMILIES)), None)
