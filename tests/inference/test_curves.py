"""A curve is measured once for a way of sampling, and kept with the run."""

import json

import jax
import numpy as np
import pytest

from dit_jax.errors import UserError
from dit_jax.inference import curves
from dit_jax.inference.caching import Schedule, Threshold
from dit_jax.inference.curves import Curve, psnr_db, rule_of
from dit_jax.inference.generate import told
from dit_jax.parallel import mesh
from tests.inference.conftest import OPTIONS

STEPS = 12


@pytest.fixture(scope="module")
def run(make_run):
    return make_run()


@pytest.fixture
def rule(run, tmp_path):
    """`rule(name, guidance=, ...)` -> rule and saving, of a folder of its own."""
    alone = mesh.build(jax.devices()[:1], data=-1, fsdp=1, context=1, tensor=1)
    labels = told(run, np.array([0, 1, 2]))

    def make(name, guidance=2.0, **changed):
        how = OPTIONS | {"steps": STEPS, "sampler": "euler"} | changed
        return rule_of(
            name, run, alone, tmp_path, labels, seed=0, guidance=guidance, **how
        )

    return make


def test_what_a_rule_saves_is_counted_and_what_it_costs_measured(rule):
    spared, saving = rule("mag:threshold=1e9,longest=3,kept=0.2")
    assert isinstance(spared, Schedule)
    assert saving.ran == STEPS - spared.spared.sum()
    assert 0.3 < saving.share < 0.8
    assert np.isfinite(saving.psnr_db)
    _, careful = rule("mag:threshold=0.0")
    assert (careful.ran, careful.psnr_db) == (STEPS, None)
    bound, changing = rule("tea:threshold=1e9")
    assert isinstance(bound, Threshold)
    assert changing.ran == 2


def test_a_curve_is_measured_once_for_a_way_of_sampling(rule, tmp_path, monkeypatch):
    first = rule("mag")
    rule("mag", guidance=1.0)
    rule("tea")

    def refuse(*arguments, **options):
        raise AssertionError("measured again")

    monkeypatch.setattr(curves, "Draw", refuse)
    again, saving = rule("mag")
    np.testing.assert_array_equal(again.spared, first[0].spared)
    assert saving == first[1]
    stored = json.loads((tmp_path / curves.FILE).read_text())["curves"]
    assert [sorted(entry["savings"]) for entry in stored] == [["mag"], ["mag", "tea"]]
    with pytest.raises(AssertionError, match="measured again"):
        rule("mag", steps=8)


def test_curves_of_another_format_are_measured_again(rule, tmp_path):
    (tmp_path / curves.FILE).write_text(json.dumps({"format_version": 0}))
    _, saving = rule("mag")
    assert saving.calls == STEPS


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("magic", "sample.cache is 'magic'"),
        ("mag:treshold=1", "an option of sample.cache mag is 'treshold'"),
        ("tea:degree=40", "a polynomial of degree 40 is fitted to 11 changes"),
    ],
)
def test_a_rule_that_is_none_is_named(rule, name, message):
    with pytest.raises(UserError, match=message):
        rule(name)


def test_steps_that_a_sampler_chooses_itself_are_not_spared(rule):
    with pytest.raises(UserError, match="dopri5 chooses its own steps"):
        rule("mag", sampler="dopri5")


def test_latents_are_compared_by_their_span():
    wanted = np.linspace(-2, 2, 1000)
    assert psnr_db(wanted + 0.4, wanted) == pytest.approx(20, abs=0.01)


def test_a_polynomial_finds_the_change_that_made_it():
    seen = np.linspace(0.1, 0.5, 11)
    changes = np.stack([seen, 2 * seen + 0.1], 1)
    curve = Curve(np.ones(12), np.concatenate([np.zeros((1, 2)), changes]))
    np.testing.assert_allclose(curves.tea(curve).coefficients, (2, 0.1), rtol=1e-6)
