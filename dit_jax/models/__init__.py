"""Video diffusion transformers: parts, presets that combine them, and their cost."""

from flax import nnx

# Parameters carry logical names of their dims; `parallel` maps them to mesh axes, and
# Flax must not look for mesh axes of those names when a parameter is created.
nnx.use_eager_sharding(False)

from dit_jax.models.functional import (  # noqa: E402
    abstract,
    apply,
    logical_axes,
    split,
)

__all__ = ["abstract", "apply", "logical_axes", "split"]
