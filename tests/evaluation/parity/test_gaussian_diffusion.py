"""DiT's discrete diffusion, recorded and from an independent float64 rendering."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from dit_jax.evaluation.parity import gaussian_diffusion, golden, runners

GOLDEN = Path(__file__).parents[2] / "golden"
FILES = sorted(GOLDEN.glob("diffusion_*.safetensors"))


def read(name: str) -> golden.Case:
    return golden.read(GOLDEN / f"diffusion_{name}.safetensors")


def changed(case: golden.Case, create=(), **config) -> golden.Case:
    """The case with other arguments of create_diffusion and other options."""
    config = case.config | config
    config["create_diffusion"] = config["create_diffusion"] | dict(create)
    return dataclasses.replace(case, config=config)


def passes(case: golden.Case) -> bool:
    """As the program decides: what does not fit does not pass."""
    try:
        found = golden.compare(case, runners.runner(case)(case))
    except golden.Uncovered:
        raise
    except ValueError:
        return False
    return all(d.passed for d in found)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_recorded_diffusion_is_ours(path):
    case = golden.read(path)
    differences = golden.compare(case, runners.runner(case)(case))
    assert all(d.passed for d in differences), differences
    assert not case.unread


@pytest.mark.parametrize(
    "name, create, config",
    [
        ("tables_linear_T1000", {"noise_schedule": "squaredcos_cap_v2"}, {}),
        ("tables_linear_T1000", {"diffusion_steps": 999}, {}),
        ("tables_linear_respaced_250", {"timestep_respacing": "ddim250"}, {}),
        ("numpy_tables_sections", {"timestep_respacing": "10,20,15"}, {}),
        ("ddim10_eta0", {"timestep_respacing": "10"}, {}),
        ("ddim10_eta0", {}, {"eta": 0.01}),
        ("ddim10_eta0", {}, {"clip_denoised": True}),
        ("ddim10_eta05", {}, {"sampler": "ddpm", "eta": 0.0}),
        ("ddim10_eta05", {"noise_schedule": "squaredcos_cap_v2"}, {}),
        ("ddpm_respaced10", {}, {"learn_sigma": False}),
        ("ddpm_respaced10", {"predict_xstart": True}, {}),
        ("numpy_ddpm_small_sections", {"sigma_small": False}, {}),
        ("numpy_ddpm_large", {"sigma_small": True}, {}),
        ("numpy_ddim_reverse", {}, {"clip_denoised": False}),
        ("numpy_ddim_reverse", {"timestep_respacing": "14"}, {}),
        ("functions_linear", {"rescale_learned_sigmas": True, "use_kl": True}, {}),
        ("functions_linear", {"predict_xstart": True}, {}),
        ("functions_linear", {"timestep_respacing": "500"}, {}),
        ("numpy_functions_kl", {"use_kl": False}, {}),
        ("numpy_functions_rescaled", {"rescale_learned_sigmas": False}, {}),
        ("numpy_functions_x0_small", {"sigma_small": False}, {}),
    ],
)
def test_another_option_does_not_pass(name, create, config):
    case = changed(read(name), create, **config)
    assert not passes(case)


@pytest.mark.parametrize(
    "name, create, config, message",
    [
        ("tables_linear_T1000", {"noise_schedule": "sqrt"}, {}, "noise_sch.*'sqrt'"),
        ("tables_linear_T1000", {"rescale_timesteps": True}, {}, "rescale_t.*True"),
        ("tables_linear_T1000", {"diffusion_steps": "many"}, {}, "diffusion_.*'many'"),
        ("tables_linear_T1000", {"timestep_respacing": 250}, {}, "respacing is 250"),
        ("tables_linear_T1000", {"use_kl": "yes"}, {}, "use_kl is 'yes'"),
        ("tables_linear_T1000", {}, {"sampler": "ddpm"}, "sampler = 'ddpm'"),
        ("tables_linear_T1000", {}, {"learn_sigma": None}, "learn_sigma is None"),
        ("functions_linear", {"learn_sigma": False}, {}, "is False and .* is True"),
        ("ddim10_eta0", {}, {"sampler": "plms"}, "sampler = 'plms'"),
        ("ddim10_eta0", {}, {"sampler": None}, "sampler = None"),
        ("ddim10_eta0", {}, {"cond_fn": "classifier"}, "cond_fn = 'classifier'"),
        ("ddim10_eta0", {}, {"clip_denoised": 2}, "clip_denoised = 2"),
        ("ddim10_eta0", {}, {"eta": "half"}, "eta = 'half'"),
        ("ddpm_respaced10", {}, {"eta": 0.5}, "eta = 0.5 with the sampler 'ddpm'"),
        ("numpy_ddim_reverse", {}, {"eta": 1.0}, "eta = 1.0 with the sampler"),
    ],
)
def test_what_is_not_covered_is_named(name, create, config, message):
    case = changed(read(name), create, **config)
    with pytest.raises(golden.Uncovered, match=message):
        runners.runner(case)(case)


def test_options_that_were_not_told_are_the_references_defaults():
    case = read("ddpm_respaced10")
    config = {
        name: value for name, value in case.config.items() if name != "learn_sigma"
    }
    assert passes(dataclasses.replace(case, config=config))


@pytest.mark.parametrize("respacing", [None, "", [1000]])
def test_no_respacing_can_be_said_in_several_ways(respacing):
    case = read("tables_linear_T1000")
    assert passes(changed(case, {"timestep_respacing": respacing}))


@pytest.mark.parametrize(
    "name, array, part",
    [
        ("ddpm_respaced10", "noise", np.s_[:-1]),
        ("functions_linear", "model_output", np.s_[:, :2]),
    ],
)
def test_arrays_of_another_shape_are_named(name, array, part):
    case = read(name)
    inputs = golden.Tracked(case.inputs)
    inputs[array] = dict(inputs)[array][part]
    case = dataclasses.replace(case, inputs=inputs)
    with pytest.raises(ValueError, match=f"in/{array}"):
        runners.runner(case)(case)


def test_a_step_beyond_the_last_is_named():
    case = changed(read("functions_linear"), {"diffusion_steps": 999})
    with pytest.raises(ValueError, match="in/t runs from 0 to 999 of 0 to 998"):
        runners.runner(case)(case)


def test_a_sampler_that_draws_needs_its_noise():
    case = read("ddpm_respaced10")
    inputs = golden.Tracked({"x_T": dict(case.inputs)["x_T"]})
    case = dataclasses.replace(case, inputs=inputs)
    with pytest.raises(ValueError, match="noise"):
        runners.runner(case)(case)


def test_a_little_off_does_not_pass():
    for name, output, by in (
        ("tables_linear_T1000", "betas", 1e-8),
        ("functions_linear", "prior_bpd", 3e-6),
        ("functions_linear", "loss/vb", 1e-2),
        ("ddim10_eta0", "samples", 1e-2),
        ("ddim10_eta0", "timestep_map", 1),
    ):
        case = read(name)
        moved = case.outputs[output] + np.asarray(by, case.outputs[output].dtype)
        outputs = case.outputs | {output: moved}
        assert not passes(dataclasses.replace(case, outputs=outputs)), output


def test_other_systems_are_none_of_it():
    case = golden.read(GOLDEN / "frechet_n64_d16.safetensors")
    assert gaussian_diffusion.runner(case) is None
