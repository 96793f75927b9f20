"""Each optimizer is the update of its paper, in float64 and written down here again."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dit_jax.training.optimizers import OPTIMIZERS, Settings

STEPS, RATE, B1, B2, EPS, MOMENTUM, DECAY = 3, 0.01, 0.8, 0.97, 1e-8, 0.9, 0.1
LAYERS = 2
# Both shapes of matrices: more rows, more columns; Adafactor factors from 128 on.
SHAPES = {
    "stack/blocks/mlp/hidden/kernel": (LAYERS, 128, 144),
    "stack/blocks/mlp/out/kernel": (LAYERS, 144, 128),
    "stack/blocks/mlp/hidden/bias": (LAYERS, 144),
    "stack/blocks/norm/scale": (LAYERS, 128),
    "conditioning/label/table": (5, 128),
    "embedding/kernel": (130, 128),
    "head/kernel": (128, 6),
    "head/bias": (6,),
}


def nested(values):
    tree = {}
    for path, value in values.items():
        *folders, last = path.split("/")
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[last] = value
    return tree


def flat(tree):
    paths, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(p, simple=True, separator="/"): v for p, v in paths}


def is_stacked(path):
    return path.startswith("stack/")


AXES = nested(
    {
        path: (("layers" if is_stacked(path) else None), *[None] * (len(shape) - 1))
        for path, shape in SHAPES.items()
    }
)


def draws(seed, scale):
    draw = np.random.default_rng(seed)
    return {path: scale * draw.normal(size=shape) for path, shape in SHAPES.items()}


def start():
    """Parameters; those of the head are zero, as they are before a training."""
    return {
        path: 0 * value if path.startswith("head") else value
        for path, value in draws(0, 0.5).items()
    }


def gradients(step):
    """Of different sizes, so that nothing is hidden by a normalisation."""
    return {path: g * 10.0 ** (step - 2) for path, g in draws(step, 1.0).items()}


def make(name):
    schedule = optax.linear_schedule(RATE, RATE / 2, STEPS)
    return OPTIMIZERS[name](
        Settings(schedule, AXES, B1, B2, EPS, MOMENTUM, weight_decay=DECAY)
    )


def found(name):
    optimizer = make(name)
    params = jax.tree.map(jnp.float32, nested(start()))
    state, update = optimizer.init(params), jax.jit(optimizer.update)
    for step in range(1, STEPS + 1):
        grads = jax.tree.map(jnp.float32, nested(gradients(step)))
        updates, state = update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return flat(params)


def wanted(rule):
    """Every layer of every parameter by itself, by `rule(path) -> update`."""
    params = {}
    for path, value in start().items():
        layers = value if is_stacked(path) else value[None]
        grads = [gradients(step)[path] for step in range(1, STEPS + 1)]
        grads = [g if is_stacked(path) else g[None] for g in grads]
        moved = [
            descend(rule(path), layer, [g[i] for g in grads], path)
            for i, layer in enumerate(layers)
        ]
        params[path] = np.stack(moved) if is_stacked(path) else moved[0]
    return params


def descend(update, w, grads, path):
    """w - rate (update + decay w), of kernels; in float64."""
    decay = DECAY if path.endswith("kernel") else 0.0
    memory = {}
    for t, g in enumerate(grads, start=1):
        rate = RATE * (1 - (t - 1) / (2 * STEPS))
        w = w - rate * (update(g, w, t, memory) + decay * w)
    return w


def adam(g, w, t, memory):
    """Kingma & Ba 2015, arXiv:1412.6980, algorithm 1."""
    m = memory["m"] = B1 * memory.get("m", 0) + (1 - B1) * g
    v = memory["v"] = B2 * memory.get("v", 0) + (1 - B2) * g**2
    return (m / (1 - B1**t)) / (np.sqrt(v / (1 - B2**t)) + EPS)


def lion(g, w, t, memory):
    """Chen et al. 2023, algorithm 2."""
    m = memory.get("m", 0)
    memory["m"] = B2 * m + (1 - B2) * g
    return np.sign(B1 * m + (1 - B1) * g)


def rms(x):
    return np.sqrt(np.mean(x**2))


def adafactor(g, w, t, memory):
    """Shazeer & Stern 2018, algorithms 4 and 5, with the rate as the relative step."""
    forget = 1 - t**-0.8
    square = g**2 + 1e-30
    if g.ndim == 2 and min(g.shape) >= 128:
        rows, columns = square.mean(1), square.mean(0)
        r = memory["r"] = forget * memory.get("r", 0) + (1 - forget) * rows
        c = memory["c"] = forget * memory.get("c", 0) + (1 - forget) * columns
        v = np.outer(r, c) / r.mean()
    else:
        v = memory["v"] = forget * memory.get("v", 0) + (1 - forget) * square
    u = g / np.sqrt(v)
    u = u / max(1, rms(u))
    return max(1e-3, rms(w)) * u


def muon(g, w, t, memory):
    """Liu et al. 2025, eq. 4; the momentum is Nesterov's, debiased as Dozat 2016."""
    m = memory["m"] = MOMENTUM * memory.get("m", 0) + (1 - MOMENTUM) * g
    x = MOMENTUM * m / (1 - MOMENTUM ** (t + 1))
    x = x + (1 - MOMENTUM) * g / (1 - MOMENTUM**t)
    x = x / np.linalg.norm(x)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return 0.2 * np.sqrt(max(g.shape)) * x


def muon_of_layers(path):
    return muon if is_stacked(path) and path.endswith("kernel") else adam


RULES = {
    "adamw": lambda path: adam,
    "lion": lambda path: lion,
    "adafactor": lambda path: adafactor,
    "muon": muon_of_layers,
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_three_steps_are_those_of_the_paper(name):
    here, there, before = found(name), wanted(RULES[name]), start()
    for path, value in there.items():
        assert np.abs(value - before[path]).max() > 1e-6, path
        np.testing.assert_allclose(here[path], value, rtol=0, atol=1e-5, err_msg=path)
        moved, wish = here[path] - before[path], value - before[path]
        assert rms(moved - wish) < 1e-3 * rms(wish), path  # small steps count too


def test_muon_makes_each_layer_a_rotation_of_the_rms_of_adamw():
    """Singular values of an update within the band of five Newton-Schulz steps."""
    optimizer = make("muon")
    params = jax.tree.map(lambda a: jnp.zeros(a.shape), nested(start()))
    grads = jax.tree.map(jnp.float32, nested(gradients(2)))
    updates = flat(optimizer.update(grads, optimizer.init(params), params)[0])
    for path in ("stack/blocks/mlp/hidden/kernel", "stack/blocks/mlp/out/kernel"):
        for layer in np.asarray(updates[path]) / (0.2 * np.sqrt(144) * RATE):
            values = np.linalg.svd(layer, compute_uv=False)
            assert 0.6 < values.min() <= values.max() < 1.3


def test_adafactor_stores_rows_and_columns_of_every_layer():
    state = make("adafactor").init(jax.tree.map(jnp.float32, nested(start())))
    sizes = {leaf.shape for leaf in jax.tree.leaves(state) if leaf.ndim == 2}
    assert {(LAYERS, 128), (LAYERS, 144)} <= sizes
    assert max(leaf.size for leaf in jax.tree.leaves(state)) == 6 * 128  # the head
