"""SiT's transport against recorded cases, and what must not pass.

The `sit_restated_*` files are of a separate restatement in numpy, for options that the
reference's own files leave out.
"""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from dit_jax.evaluation.parity import golden, interpolants, runners, transport

GOLDEN = Path(__file__).parents[2] / "golden"
ODE, SDE = "sit_ode_heun_gvp_score", "sit_sde_heun_gvp_velocity_linear_euler"
PATH, LOSSES = "sit_path_gvp", "sit_training_losses"


def read(name):
    return golden.read(GOLDEN / f"{name}.safetensors")


NAMES = sorted(
    path.stem
    for path in GOLDEN.glob("sit_*.safetensors")
    if golden.read(path).system == "sit_transport"
)


def told(case, **options):
    return dataclasses.replace(case, config=case.config | options)


def passes(case):
    return all(d.passed for d in golden.compare(case, transport.runner(case)(case)))


@pytest.mark.parametrize("name", NAMES)
def test_the_reference_is_ours_with_its_time_turned_round(name):
    case = read(name)
    differences = golden.compare(case, runners.runner(case)(case))
    assert {d.name for d in differences} == set(case.outputs)
    assert all(d.passed for d in differences), differences
    assert not case.unread


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (ODE, {"path": "Linear"}),
        (ODE, {"prediction": "noise"}),
        (ODE, {"method": "euler"}),
        (ODE, {"method": "midpoint"}),
        (ODE, {"reverse": True}),
        (ODE, {"train_eps": 0.01, "sample_eps": 0.01}),
        (SDE, {"path": "VP"}),
        (SDE, {"prediction": "score"}),
        (SDE, {"method": "Euler"}),
        (SDE, {"diffusion_form": "sigma"}),
        (SDE, {"diffusion_norm": 0.51}),
        (SDE, {"last_step": "Mean"}),
        (SDE, {"last_step": "Tweedie"}),
        (SDE, {"last_step": None}),
        (SDE, {"last_step_size": 0.05}),
        (PATH, {"path": "Linear"}),
        (PATH, {"norm": 1.01}),
        (LOSSES, {"train_eps": 1e-2, "sample_eps": 1e-2}),
    ],
)
def test_another_value_of_an_option_does_not_pass(name, options):
    assert not passes(told(read(name), **options))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            ODE,
            {"path": "Cosine"},
            "path is 'Cosine'; covered are 'Linear', 'GVP', 'VP'",
        ),
        (ODE, {"path": None}, "path is None"),
        (ODE, {"prediction": "v"}, "prediction is 'v'"),
        (ODE, {"method": "rk4"}, "method is 'rk4'"),
        (ODE, {"method": None}, "method is None"),
        (ODE, {"churn": 0.5}, "option churn = 0.5"),
        (ODE, {"reverse": 1}, "reverse is 1"),
        (ODE, {"num_points": 1}, "num_points is 1"),
        (ODE, {"train_eps": 0.1}, "sample_eps is None and train_eps 0.1"),
        (SDE, {"method": "Milstein"}, "method is 'Milstein'"),
        (SDE, {"diffusion_form": "cubic"}, "diffusion_form is 'cubic'"),
        (SDE, {"last_step": "mean"}, "last_step is 'mean'"),
        (SDE, {"diffusion_norm": "1"}, "diffusion_norm is '1'"),
        (SDE, {"reverse": True}, "option reverse = True"),
        (PATH, {"sigma": 0.1}, "option sigma = 0.1"),
        (LOSSES, {"loss_weight": "none"}, "option loss_weight = 'none'"),
    ],
)
def test_an_option_that_nothing_covers_is_named(name, options, message):
    case = told(read(name), **options)
    with pytest.raises(golden.Uncovered, match=message):
        transport.runner(case)(case)


@pytest.mark.parametrize(
    ("name", "output", "message"),
    [
        (PATH, "diffusion/cubic", "the diffusion form is 'cubic'"),
        (LOSSES, "loss/Linear/noise/min_snr", "weight of the loss is 'min_snr'"),
        (LOSSES, "loss/Cosine/noise/none", "path is 'Cosine'"),
        (LOSSES, "t/VP/x0", "prediction is 'x0'"),
        (LOSSES, "pred/VP/noise", "output pred/VP/noise"),
    ],
)
def test_an_output_that_nothing_makes_is_named(name, output, message):
    case = read(name)
    case = dataclasses.replace(case, outputs=case.outputs | {output: np.zeros(4)})
    with pytest.raises(golden.Uncovered, match=message):
        transport.runner(case)(case)


@pytest.mark.parametrize("name", [ODE, SDE, PATH, LOSSES])
def test_another_recorded_value_does_not_pass(name):
    case = read(name)
    for output, values in case.outputs.items():
        moved = values + 1e-3 * max(1.0, np.abs(values).max())
        outputs = case.outputs | {output: moved.astype(values.dtype)}
        assert not passes(dataclasses.replace(case, outputs=outputs)), output
        if name == LOSSES:
            break  # they are all of one kind


def test_noise_of_another_number_of_steps_is_named():
    case = told(read(SDE), num_steps=12)
    with pytest.raises(ValueError, match="in/noise is of 10 steps and num_steps is 12"):
        transport.runner(case)(case)


def test_the_margins_are_those_of_the_reference():
    """Of training, of the ODE, of an SDE and of one with a last step."""

    def margins(path, prediction, **eps):
        options = {"train_eps": None, "sample_eps": None} | eps
        model = interpolants.Transport.of(
            options | {"path": path, "prediction": prediction}
        )
        kinds = [{}, {"form": "SBDM"}, {"form": "sigma", "last": 0.04}]
        found = [model.interval(model.train_eps)]
        return found + [model.interval(model.sample_eps, **kind) for kind in kinds]

    small = 1 - 1e-3
    assert margins("Linear", "velocity") == [(0, 1), (0, 1), (0, 1), (0, 0.96)]
    inside = (1e-3, small)
    assert margins("GVP", "score") == [inside, inside, inside, (1e-3, 0.96)]
    kept = (0, small)
    assert margins("VP", "noise") == [(0, 1 - 1e-5), kept, kept, (0, 0.96)]
    # a train_eps of its own takes sample_eps as it is, none replaces both
    own = margins("VP", "noise", train_eps=0.1, sample_eps=0.2)
    assert own == [(0, 0.9), (0, 0.8), (0, 0.8), (0, 0.96)]
    both = margins("Linear", "noise", sample_eps=0.2)
    assert both == margins("Linear", "noise")


def test_other_systems_and_other_inputs_have_no_runner():
    assert transport.runner(read("sit_forward")) is None
    case = read(ODE)
    inputs = golden.Tracked({"y": np.zeros(3)})
    assert transport.runner(dataclasses.replace(case, inputs=inputs)) is None


def test_a_case_that_tells_no_rounding_may_be_off_by_what_float32_moves_ours():
    case = read(ODE)
    found = transport.runner(case)(case)
    allowed = {
        rounding: golden.compare(case, golden.Measured(found, {"samples": rounding}))[
            0
        ].allowed
        for rounding in (0.0, 1e-5, 1e-2, np.nan)
    }
    largest = np.abs(case.outputs["samples"]).max()
    assert allowed[0.0] == pytest.approx(2e-5 + 1e-5 * largest)
    assert allowed[1e-5] == pytest.approx(3e-4 + 1e-5 * largest)
    assert allowed[1e-2] == pytest.approx(1e-3 * largest, rel=0.02)
    assert not allowed[np.nan] > allowed[0.0]
