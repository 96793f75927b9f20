"""What --profile means, and what is refused before a training begins."""

import jax
import pytest

from dit_jax.errors import UserError
from dit_jax.training import profile
from dit_jax.training.state import TrainState

STATE = TrainState(step=0, params={}, opt_state=(), ema={})


@pytest.fixture
def tracing(monkeypatch):
    """What the profiler is told, in place of it."""
    told = []
    monkeypatch.setattr(
        jax.profiler, "start_trace", lambda folder, **_: told.append(folder)
    )
    monkeypatch.setattr(jax.profiler, "stop_trace", lambda: told.append("stop"))
    return told


def run(hook, steps, told):
    """At which completed steps something was told."""
    found = {}
    for step in steps:
        before = len(told)
        hook(step, STATE, {})
        if len(told) > before:
            found[step] = told[before:]
    return found


@pytest.mark.parametrize("first", [0, 10])
def test_it_traces_from_one_number_of_completed_steps_to_the_other(first, tracing):
    hook = profile.Profile("runs/a", 10, 13)
    found = run(hook, range(first, 20), tracing)
    assert found == {10: ["runs/a/profile/process_0"], 13: ["stop"]}
    hook.close()
    assert tracing[-1] == "stop"
    assert len(tracing) == 2


def test_a_run_that_is_stopped_keeps_its_trace(tracing):
    hook = profile.Profile("runs/a", 3, 8)
    run(hook, range(6), tracing)
    hook.close()
    assert tracing == ["runs/a/profile/process_0", "stop"]


def test_two_numbers_are_a_range_of_completed_steps():
    found = profile.steps("10:13", "runs/a", first_step=10, num_steps=13)
    assert found == (10, 13)


@pytest.mark.parametrize(
    ("text", "workdir", "words"),
    [
        ("10", "runs/a", "give START:STOP in completed steps"),
        ("10:", "runs/a", "give START:STOP in completed steps"),
        ("13:13", "runs/a", "give START:STOP in completed steps"),
        ("-1:3", "runs/a", "give START:STOP in completed steps"),
        ("2:\u0663", "runs/a", "is not within the steps 5 to 20 of this start"),
        ("4:6", "runs/a", "is not within the steps 5 to 20 of this start"),
        ("18:21", "runs/a", "give START:STOP from 5 to 20"),
        ("6:8", "gs://bucket/a", "local folders only"),
    ],
)
def test_what_cannot_be_traced_is_refused(text, workdir, words):
    with pytest.raises(UserError, match=words):
        profile.steps(text, workdir, first_step=5, num_steps=20)
