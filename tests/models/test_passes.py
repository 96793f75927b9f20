"""What a remat policy saves by name is not computed again."""

import jax
import jax.numpy as jnp
import pytest

from dit_jax.models.attention import ATTENTIONS
from dit_jax.models.passes import SAVED_LSE, SAVED_OUT
from dit_jax.models.splash import splash

BY_NAME = jax.checkpoint_policies.save_only_these_names(SAVED_OUT, SAVED_LSE)
# (form, the primitive of its scores, how often a forward and a backward pass have it)
CASES = {
    "chunked": (ATTENTIONS["chunked"], "exp", 2, 1),
    "splash": (splash(interpret=True), "pallas_call", 1, 1),
}


def times(jaxpr, name):
    """How often a primitive stands in a program, inner programs included."""
    return sum(
        (eqn.primitive.name == name)
        + sum(times(inner, name) for inner in inner_programs(eqn.params))
        for eqn in jaxpr.eqns
    )


def inner_programs(params):
    for value in jax.tree.leaves(params, is_leaf=lambda x: hasattr(x, "jaxpr")):
        value = getattr(value, "jaxpr", value)
        if hasattr(value, "eqns"):
            yield value


def scores_in_gradient(form, primitive, wrap):
    """Of layers under scan, as the stacks have them."""

    @wrap
    def layer(x):
        q, k, v = (scale * x.reshape(1, 256, 2, 64) for scale in (1.0, 2.0, 3.0))
        return jnp.sin(form(q, k, v)).reshape(x.shape)

    def loss(x):
        return jax.lax.scan(lambda x, _: (layer(x), None), x, None, length=3)[0].sum()

    program = jax.make_jaxpr(jax.grad(loss))(jnp.ones((1, 256, 128)))
    return times(program.jaxpr, primitive)


@pytest.mark.parametrize("case", CASES)
def test_a_saved_output_and_lse_leave_no_forward_pass_to_the_backward_pass(case):
    form, primitive, forward, backward = CASES[case]

    def found(wrap):
        return scores_in_gradient(form, primitive, wrap)

    assert found(lambda layer: layer) == forward + backward
    assert found(jax.checkpoint) == 2 * forward + backward
    saving = lambda layer: jax.checkpoint(layer, policy=BY_NAME)  # noqa: E731
    assert found(saving) == forward + backward


@pytest.mark.parametrize("missing", [SAVED_OUT, SAVED_LSE])
def test_both_names_are_needed(missing):
    one = {SAVED_OUT, SAVED_LSE} - {missing}
    policy = jax.checkpoint_policies.save_only_these_names(*one)
    form, primitive, forward, backward = CASES["chunked"]
    wrap = lambda layer: jax.checkpoint(layer, policy=policy)  # noqa: E731
    assert scores_in_gradient(form, primitive, wrap) == 2 * forward + backward
