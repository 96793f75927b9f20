"""The planner knows every policy and optimizer that can be chosen, and no other."""

import pytest

from dit_jax.errors import UserError
from dit_jax.models import remat
from dit_jax.planning import training
from dit_jax.training.optimizers import OPTIMIZERS


def test_every_remat_policy_has_its_cost():
    assert set(training.REMATS) == set(remat.REMATS)


def test_every_optimizer_has_its_bytes():
    assert set(training.OPTIMIZER_BYTES) == set(OPTIMIZERS)


def test_policies_that_keep_attention_are_those_that_save_its_log_sum_exp():
    kept = {
        name
        for name, policy in training.REMATS.items()
        if policy.lse and policy.linear and not policy.scores
    }
    assert kept == {*remat.OF_ATTENTION}


@pytest.mark.parametrize("field", training.CHOICES)
def test_a_name_that_is_not_known_is_refused_by_its_key(field):
    with pytest.raises(UserError, match=f"{training.CHOICES[field][1]}.*nonsense"):
        training.Training(batch_size=1, num_steps=1, **{field: "nonsense"})
