"""Schedulers of diffusers, and what must not pass for one."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from dit_jax.errors import DataError
from dit_jax.evaluation.parity import golden, schedulers
from dit_jax.evaluation.parity.scheduler_kinds import KINDS

GOLDEN = Path(__file__).parents[2] / "golden"
FILES = sorted(GOLDEN.glob("sched_*.safetensors"))
GROUPS = ("scheduler", "set_timesteps")


def read(name):
    return golden.read(GOLDEN / f"sched_{name}.safetensors")


def told(case, **options):
    """The case with other options, each where it belongs or else at the top."""
    config = {**case.config, "scheduler": {**case.config["scheduler"]}}
    config["set_timesteps"] = {**config.get("set_timesteps", {})}
    for name, value in options.items():
        group, _, option = name.rpartition("__")
        (config[group] if group else config)[option] = value
    return dataclasses.replace(case, config=config)


def failing(case):
    found = golden.compare(case, schedulers.runner(case)(case))
    return {d.name for d in found if not d.passed}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_scheduler_is_one_of_our_samplers_on_its_grid(path):
    case = golden.read(path)
    assert failing(case) == set()
    assert not case.unread


def test_every_class_has_a_file():
    assert {golden.read(path).config["class"] for path in FILES} == set(KINDS)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("ddpm_linear", "scheduler__beta_end", 0.0202),
        ("ddpm_linear", "scheduler__variance_type", "fixed_large"),
        ("ddpm_trailing_large_thresholded", "scheduler__sample_max_value", 1.45),
        (
            "ddpm_trailing_large_thresholded",
            "scheduler__dynamic_thresholding_ratio",
            0.9,
        ),
        ("ddpm_chosen_steps_clipped", "scheduler__clip_sample_range", 0.7),
        (
            "ddpm_chosen_steps_clipped",
            "set_timesteps__timesteps",
            [180, 150, 99, 97, 20],
        ),
        ("ddim_eta1_trailing_vpred_zsnr", "eta", 0.99),
        ("ddim_eta1_trailing_vpred_zsnr", "scheduler__rescale_betas_zero_snr", False),
        ("ddim_leading_eps", "scheduler__set_alpha_to_one", True),
        ("ddim_leading_eps", "scheduler__steps_offset", 0),
        ("ddim_eta_clipped_eps", "use_clipped_model_output", False),
        ("euler_leading", "scheduler__timestep_spacing", "trailing"),
        ("euler_leading", "scale_init", False),
        ("euler_karras", "scheduler__prediction_type", "sample"),
        ("euler_exponential_to_sigma_min", "scheduler__sigma_max", 4.01),
        ("ancestral_vpred_zsnr", "scheduler__beta_end", 0.0121),
        ("heun", "scheduler__beta_schedule", "linear"),
        ("dpmpp_2m", "scheduler__solver_order", 1),
        ("dpmpp_2m", "scheduler__solver_type", "heun"),
        ("dpm_sde_x0_order3_clipped_lambda", "scheduler__solver_order", 2),
        ("dpm_sde_x0_order3_clipped_lambda", "scheduler__solver_type", "heun"),
        (
            "dpm_sde_x0_order3_clipped_lambda",
            "scheduler__algorithm_type",
            "dpmsolver++",
        ),
        ("dpm_eps_order3_lu", "scheduler__lower_order_final", False),
        ("dpm_sde_eps_heun_exponential", "scheduler__solver_type", "midpoint"),
        ("unipc_bh2_order2", "scheduler__solver_order", 3),
        ("unipc_bh2_order2", "scheduler__disable_corrector", [4]),
        ("unipc_bh1_eps_order3_karras", "scheduler__solver_type", "bh2"),
        ("unipc_bh1_eps_order3_karras", "scheduler__predict_x0", True),
        ("unipc_flow_shift5", "scheduler__flow_shift", 5.05),
        ("unipc_flow_dynamic_terminal", "scheduler__shift_terminal", 0.11),
        ("flow_euler_shift3", "scheduler__shift", 3.03),
        ("flow_euler_dynamic_mu", "set_timesteps__mu", 1.16),
        ("flow_stochastic_karras", "scheduler__stochastic_sampling", False),
        ("flow_inverted_linear_mu", "scheduler__time_shift_type", "exponential"),
    ],
)
def test_the_states_of_another_option_do_not_pass(name, option, value):
    assert "samples" in failing(told(read(name), **{option: value}))


def test_a_small_change_of_one_state_does_not_pass():
    case = read("ancestral_vpred_zsnr")  # where rounding is measured
    moved = {**case.outputs, "samples": case.outputs["samples"].copy()}
    moved["samples"][-1, 0, 0, 0] += 0.05
    assert "samples" in failing(dataclasses.replace(case, outputs=moved))


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("ddpm_linear", "class", "DEISMultistepScheduler"),
        ("ddpm_linear", "scheduler__variance_type", "learned_range"),
        ("ddpm_linear", "scheduler__variance_type", "fixed_large_log"),
        ("ddpm_linear", "scheduler__beta_schedule", ["linear"]),
        ("ddpm_linear", "eta", 1.0),
        ("euler_karras", "s_churn", 0.5),
        ("euler_karras", "scheduler__final_sigmas_type", "one"),
        ("euler_karras", "set_timesteps__mu", 1.0),
        ("heun", "scheduler__rescale_betas_zero_snr", True),
        ("dpmpp_2m", "scheduler__variance_type", "learned"),
        ("dpmpp_2m", "scheduler__algorithm_type", "dpmsolver+++"),
        ("unipc_bh2_order2", "scheduler__solver_p", "DDIMScheduler"),
        ("flow_euler_shift3", "scheduler__beta_end", 0.02),
        ("flow_euler_shift3", "scale_init", True),
    ],
)
def test_an_option_that_is_not_covered_is_named(name, option, value):
    case = told(read(name), **{option: value})
    with pytest.raises(golden.Uncovered) as error:
        schedulers.run(case)
    assert f"option {option.rpartition('__')[2]}={value!r} is not " in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda noise: {}, "has no in/noise"),
        (lambda noise: {"noise": noise[:5]}, "5 rows and step 9 draws some"),
    ],
)
def test_noise_that_is_missing_is_named(change, message):
    case = read("ddpm_linear")
    inputs = dict(case.inputs)
    inputs |= change(inputs.pop("noise"))
    case = dataclasses.replace(case, inputs=golden.Tracked(inputs))
    with pytest.raises(DataError, match=message):
        schedulers.run(case)


def test_times_at_a_tie_of_rounding_are_as_recorded_and_no_others():
    case = told(read("unipc_flow_shift5"), num_steps=9, scheduler__flow_shift=1.0)
    kind, o = schedulers.read(case)
    whole = np.linspace(1000, 1, 10)[:-1].round()
    for less, seen in ((0, whole), (1, whole - 1), (2, whole)):
        recorded = {"timesteps": (whole - less).astype(np.float32)}
        found = kind.build({**o, "recorded": recorded}).grid.calls.t
        # the first is moved off its whole number
        np.testing.assert_array_equal(found, np.where(whole == 1000, 999, seen))


def test_another_system_has_no_runner():
    assert (
        schedulers.runner(golden.read(GOLDEN / "frechet_n64_d16.safetensors")) is None
    )
