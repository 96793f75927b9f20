"""Options of schedulers of diffusers: their names, their defaults, who takes which."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import numpy as np

from dit_jax.evaluation.parity.golden import Uncovered

Options = Mapping[str, Any]
"""Everything that a case asks for, by the reference's names."""

T = TypeVar("T")


def chosen(o: Options, name: str, table: Mapping[Any, T]) -> T:
    """The row of an option's value; Uncovered, by name and value, without one."""
    if o[name] not in list(table):  # a list has no hash
        raise Uncovered(f"option {name}={o[name]!r} is not supported")
    return table[o[name]]


def known(given: Options, names: Iterable[str]) -> Options:
    """`given`; Uncovered where it has another name."""
    for name, value in given.items():
        if name not in names:
            raise Uncovered(f"option {name}={value!r} is not supported")
    return given


DEFAULTS: Options = {
    "num_train_timesteps": 1000,
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "trained_betas": None,
    "rescale_betas_zero_snr": False,
    "prediction_type": "epsilon",
    "timestep_spacing": "linspace",
    "steps_offset": 0,
    "variance_type": None,
    "clip_sample": False,
    "clip_sample_range": 1.0,
    "thresholding": False,
    "dynamic_thresholding_ratio": 0.995,
    "sample_max_value": 1.0,
    "set_alpha_to_one": True,
    "interpolation_type": "linear",
    "timestep_type": "discrete",
    "use_karras_sigmas": False,
    "use_exponential_sigmas": False,
    "use_beta_sigmas": False,
    "use_lu_lambdas": False,
    "sigma_min": None,
    "sigma_max": None,
    "final_sigmas_type": "zero",
    "lambda_min_clipped": -np.inf,
    "solver_order": 2,
    "algorithm_type": "dpmsolver++",
    "solver_type": "midpoint",
    "lower_order_final": True,
    "euler_at_final": False,
    "predict_x0": True,
    "disable_corrector": (),
    "solver_p": None,
    "use_flow_sigmas": False,
    "flow_shift": 1.0,
    "shift": 1.0,
    "use_dynamic_shifting": False,
    "time_shift_type": "exponential",
    "shift_terminal": None,
    "invert_sigmas": False,
    "stochastic_sampling": False,
    # for pipelines, which make mu of them; no scheduler reads them
    "base_shift": 0.5,
    "max_shift": 1.15,
    "base_image_seq_len": 256,
    "max_image_seq_len": 4096,
}
"""Of every option; for a class that does not take it, what it does."""

BETAS = """num_train_timesteps beta_start beta_end beta_schedule trained_betas
    prediction_type timestep_spacing steps_offset"""
DISCRETE = f"{BETAS} rescale_betas_zero_snr"
CLIP = "clip_sample clip_sample_range"
THRESHOLD = "thresholding dynamic_thresholding_ratio sample_max_value"
LAWS = "use_karras_sigmas use_exponential_sigmas use_beta_sigmas"
RANGE = "sigma_min sigma_max"
DYNAMIC = "use_dynamic_shifting time_shift_type"
SOLVER = f"""{DISCRETE} {THRESHOLD} {LAWS} {DYNAMIC} solver_order solver_type
    lower_order_final use_flow_sigmas flow_shift final_sigmas_type"""
PIPELINES = "base_shift max_shift base_image_seq_len max_image_seq_len"
"""Names of options that classes have in common."""
