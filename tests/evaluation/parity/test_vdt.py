"""VDT's samplers and its training loss, recorded."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from dit_jax.evaluation.parity import golden, runners

GOLDEN = Path(__file__).parents[2] / "golden"
SAMPLED = ("vdt_masked_sampling_8steps", "vdt_concat_frames_sampling")
RECORDED = (*SAMPLED, "vdt_masked_training_losses")


def read(name: str) -> golden.Case:
    return golden.read(GOLDEN / f"{name}.safetensors")


def passes(case: golden.Case) -> bool:
    return all(d.passed for d in golden.compare(case, runners.runner(case)(case)))


@pytest.mark.parametrize("name", RECORDED)
def test_what_vdt_did_is_ours(name):
    case = read(name)
    assert passes(case)
    assert not case.unread


@pytest.mark.parametrize("name", SAMPLED)
def test_clipping_matters(name):
    case = read(name)
    config = case.config | {"clip_denoised": False}
    assert not passes(dataclasses.replace(case, config=config))


@pytest.mark.parametrize("name", [RECORDED[0], RECORDED[2]])
def test_the_mask_matters(name):
    case = read(name)
    inputs = golden.Tracked(case.inputs)
    inputs["mask"] = np.ones_like(inputs["mask"])
    assert not passes(dataclasses.replace(case, inputs=inputs))


@pytest.mark.parametrize("name", RECORDED)
def test_an_option_that_is_not_covered_is_named(name):
    case = read(name)
    config = case.config | {"cond_fn": "classifier"}
    case = dataclasses.replace(case, config=config)
    with pytest.raises(golden.Uncovered, match="cond_fn = 'classifier'"):
        runners.runner(case)(case)
