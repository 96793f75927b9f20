"""The classes of diffusers' schedulers that are covered, and how a case names one."""

import dataclasses
from collections.abc import Callable

from dit_jax.errors import DataError
from dit_jax.evaluation.parity import scheduler_options as names
from dit_jax.evaluation.parity.golden import Case
from dit_jax.evaluation.parity.scheduler_flows import (
    plan_dpm_solver,
    plan_flow_match,
    plan_unipc,
)
from dit_jax.evaluation.parity.scheduler_options import DEFAULTS, Options, chosen, known
from dit_jax.evaluation.parity.scheduler_plans import (
    Plan,
    plan_ancestral,
    plan_ddim,
    plan_ddpm,
    plan_euler,
    plan_heun,
)


@dataclasses.dataclass(frozen=True)
class Kind:
    """A class: how a plan is made of its options; which of the defaults it takes and
    where its own differ; what its set_timesteps is told; and the options of a step."""

    build: Callable[[Options], Plan]
    takes: str
    differs: Options = dataclasses.field(default_factory=dict)
    told: str = ""
    each_step: Options = dataclasses.field(default_factory=dict)


LEADING = {"timestep_spacing": "leading", "clip_sample": True}

KINDS: dict[str, Kind] = {
    "DDPMScheduler": Kind(
        plan_ddpm,
        f"{names.DISCRETE} {names.CLIP} {names.THRESHOLD} variance_type",
        LEADING | {"variance_type": "fixed_small"},
        told="timesteps",
    ),
    "DDIMScheduler": Kind(
        plan_ddim,
        f"{names.DISCRETE} {names.CLIP} {names.THRESHOLD} set_alpha_to_one",
        LEADING,
        each_step={"eta": 0.0, "use_clipped_model_output": False},
    ),
    "EulerDiscreteScheduler": Kind(
        plan_euler,
        f"""{names.DISCRETE} {names.LAWS} {names.RANGE} interpolation_type
        timestep_type final_sigmas_type""",
        told="timesteps sigmas",
    ),
    "EulerAncestralDiscreteScheduler": Kind(plan_ancestral, names.DISCRETE),
    "HeunDiscreteScheduler": Kind(
        plan_heun,
        f"{names.BETAS} {names.LAWS} {names.CLIP}",
        {"beta_start": 0.00085, "beta_end": 0.012},
        told="timesteps",
    ),
    "DPMSolverMultistepScheduler": Kind(
        plan_dpm_solver,
        f"""{names.SOLVER} algorithm_type euler_at_final use_lu_lambdas
        lambda_min_clipped variance_type""",
        told="timesteps mu",
    ),
    "UniPCMultistepScheduler": Kind(
        plan_unipc,
        f"""{names.SOLVER} {names.RANGE} predict_x0 disable_corrector solver_p
        shift_terminal""",
        {"solver_type": "bh2"},
        told="sigmas mu",
    ),
    "FlowMatchEulerDiscreteScheduler": Kind(
        plan_flow_match,
        f"""{names.LAWS} {names.DYNAMIC} {names.PIPELINES} num_train_timesteps shift
        shift_terminal invert_sigmas stochastic_sampling""",
        told="timesteps sigmas mu",
    ),
}


def read(case: Case) -> tuple[Kind, Options]:
    """All options of a case; Uncovered for a class or an option that has no row."""
    config = dict(case.config)
    kind = chosen({"class": config.pop("class", None)}, "class", KINDS)
    o = {
        **DEFAULTS,
        **kind.differs,
        **known(config.pop("scheduler", {}), kind.takes.split()),
        **dict.fromkeys(("timesteps", "sigmas", "mu")),
        **known(config.pop("set_timesteps", {}), kind.told.split()),
        **{"num_steps": None, "scale_init": False, **kind.each_step},
        # not every case records the tables
        **known(config, ["num_steps", "scale_init", "tables", *kind.each_step]),
        "recorded": case.outputs,
    }
    given = next((o[n] for n in ("sigmas", "timesteps") if o[n] is not None), None)
    if given is not None:
        o["num_steps"] = len(given)
    if o["num_steps"] is None:
        raise DataError("the case says neither num_steps nor timesteps")
    return kind, o
