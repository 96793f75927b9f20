"""Other people's transformers: what their arguments mean here, and their names.

A system turns the reference constructor's arguments into a design (a preset, overrides,
sizes) and lists the rules that map the reference's parameter names to ours.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from dit_jax.weights import dit_family, unidiffuser, uvit
from dit_jax.weights.design import Design
from dit_jax.weights.mapping import Rules


@dataclasses.dataclass(frozen=True)
class System:
    """design: of the reference constructor's arguments. rules: of that design.

    fixed: tables of theirs that we compute for the grid at hand.
    """

    design: Callable[[Mapping[str, Any]], Design]
    rules: Callable[[Design], Rules]
    fixed: tuple[str, ...] = ()


SYSTEMS: dict[str, System] = {
    "dit": System(dit_family.dit, dit_family.dit_rules, ("pos_embed",)),
    "sit": System(dit_family.sit, dit_family.sit_rules, ("pos_embed",)),
    "vdt": System(dit_family.vdt, dit_family.vdt_rules, ("pos_embed", "time_embed")),
    "vdt_concat": System(
        dit_family.vdt_concat, dit_family.vdt_rules, ("pos_embed", "time_embed")
    ),
    "latte": System(
        dit_family.latte, dit_family.dit_rules, ("pos_embed", "temp_embed")
    ),
    "uvit": System(uvit.uvit, uvit.rules),
    "unidiffuser": System(unidiffuser.v0, unidiffuser.rules),
    "unidiffuser_v1": System(unidiffuser.v1, unidiffuser.rules),
    "uvit_t2i": System(uvit.uvit_t2i, uvit.rules),
}
