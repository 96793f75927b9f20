"""Our train step of DiT, served.

    python -m benchmarks.parts.jax_side --exchange=DIR --size=s/2 --batch_size=8

Leaves DIR/exchange.safetensors: parameters under DiT's names, a batch, and what our
model makes of it, for the other side to be held against.
"""

import argparse
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from dit_jax import host_memory  # noqa: E402

KEEPS_FREED_MEMORY = host_memory.keep_freed()  # as programs do, before all imports

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402
from safetensors.numpy import save_file  # noqa: E402

from benchmarks.parts import served, training  # noqa: E402
from dit_jax import types  # noqa: E402
from dit_jax.models import presets  # noqa: E402
from dit_jax.weights import dit_family, mapping  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exchange", type=Path, required=True)
    parser.add_argument("--batch_size", type=int, required=True)
    parser.add_argument("--size", choices=served.SIZES, default="s/2")
    parser.add_argument("--dtype", choices=served.DTYPES, default="float32")
    options = parser.parse_args()
    made = training.make(
        options.size,
        batch_size=options.batch_size,
        remat="none",
        dtype=options.dtype,
    )
    save_file(exchange(made, options.size), options.exchange / "exchange.safetensors")
    made.step()  # compiles
    cost = presets.cost(
        f"dit-{options.size}",
        training.LATENTS,
        num_classes=training.CLASSES,
        remat="none",
    )
    facts = {
        "keeps_freed_memory": KEEPS_FREED_MEMORY,
        "jax": jax.__version__,
        "parameters": cost.num_params,
        "forward_flops": 2 * cost.forward_macs * options.batch_size,
        "devices": len(jax.devices()),
    }
    served.serve(facts, made.step)


def exchange(made: training.Training, size: str) -> dict[str, np.ndarray]:
    """Everything by name. A fresh model outputs zeros, so its parameters are moved."""
    rng = np.random.default_rng(1)
    params = jax.tree.map(
        lambda x: x + 0.02 * rng.normal(size=x.shape).astype(np.float32),
        jax.device_get(made.state.params),
    )
    x = rng.normal(size=made.batch.latents.shape).astype(np.float32)
    target = rng.normal(size=x.shape).astype(np.float32)
    steps = rng.integers(0, 1000, len(x)).astype(np.int32)
    labels = np.asarray(made.batch.label)

    def loss(params: Any) -> tuple[jax.Array, jax.Array]:
        denoise = made.run.denoiser.bind(params)
        told = types.Conditioning(label=jnp.asarray(labels))
        out = denoise(jnp.asarray(x), jnp.asarray(steps) / 999.0, told)
        return jnp.square(out - target).mean(), out

    gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (value, out), grads = gradient(params)
    rules = dit_family.dit_rules(dit_family.dit(served.SIZES[size]))
    named = mapping.to_theirs(rules, params)
    return {f"weights/{name}": array for name, array in named.items()} | {
        "x": x,
        "target": target,
        "steps": steps,
        "labels": labels,
        "out": np.asarray(out),
        "loss": np.asarray(value),
        "grad_norm": np.asarray(optax.tree.norm(grads)),
    }


if __name__ == "__main__":
    main()
