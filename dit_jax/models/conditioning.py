"""How a model is told the time and the label: one part, called once a forward pass.

A conditioning part is a module `(t, conditioning) -> Modulations`. It is called before
the stack, and what it returns for the layers has a leading layer dim that the stack
scans over. It refuses, with a sentence, what it has no use for.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from dit_jax import types
from dit_jax.models.primitives import linear

TIME_SCALE = 1000.0  # t in [0, 1] to the range that the sinusoids were made for
TIME_DIMS = 256
# These products are a negligible share of the work, and gates must not be rounded.
EXACT = jax.lax.Precision.HIGHEST


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Modulations:
    """Conditioning as the layers and the head receive it, float32.

    layers: per layer and branch shift, scale, gate (attention first, then the MLP).
    head: shift, scale.
    """

    layers: Float[Array, "L B parts D"]
    head: Float[Array, "B 2 D"]


def time_features(
    t: Float[Array, " B"], dims: int = TIME_DIMS
) -> Float[Array, "B dims"]:
    """Cosines, then sines, of t * exp(-ln(1e4) i / half), i < half = dims / 2."""
    half = dims // 2
    frequencies = np.exp(-np.log(1e4) * np.arange(half) / half)
    angles = t.astype(jnp.float32)[:, None] * jnp.float32(frequencies)[None]
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)


class TimeEmbedding(nnx.Module):
    """t in [0, 1] -> a vector: sinusoids of 1000 t, then a two-layer MLP, float32."""

    def __init__(
        self,
        width: int,
        *,
        constrain: types.Constrain = types.keep_placement,
        rngs: nnx.Rngs,
    ):
        small = nnx.initializers.normal(0.02)
        make = partial(linear, kernel_init=small, precision=EXACT, rngs=rngs)
        self.hidden = make(TIME_DIMS, width, ("time", "embed"))
        self.out = make(width, width, ("signal", "embed"))
        self.constrain = constrain

    def __call__(self, t: Float[Array, " B"]) -> Float[Array, "B D"]:
        hidden = self.hidden(time_features(TIME_SCALE * t))
        hidden = self.constrain(hidden, ("batch", "embed"))
        return self.constrain(self.out(jax.nn.silu(hidden)), ("batch", "embed"))


class LabelEmbedding(nnx.Module):
    """A table of num_classes + 1 rows, N(0, scale); the last row is the null label."""

    def __init__(
        self,
        num_classes: int,
        width: int,
        *,
        scale: float,
        constrain: types.Constrain = types.keep_placement,
        rngs: nnx.Rngs,
    ):
        draw = nnx.initializers.normal(scale)(rngs.params(), (num_classes + 1, width))
        self.table = nnx.Param(draw, out_sharding=("labels", "embed"))
        self.num_classes = num_classes
        self.constrain = constrain

    def __call__(self, label: Array) -> Float[Array, "B D"]:
        # NaN, not a silently clamped row, for a label that the table does not have
        table = self.constrain(self.table[...], ("labels", "embed"))
        return jnp.take(table, label, axis=0, mode="fill", fill_value=jnp.nan)


class AdaLNZero(nnx.Module):
    """Time plus label to a shift, scale and gate per layer and branch; zero at init.

    DiT, arXiv:2212.09748, section 3.2. The projections of all layers are one parameter
    [L, D, parts D], applied once before the stack: sharded on its output dim, only the
    small result is gathered, not a third of the model's weights.
    """

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        num_classes: int,
        label_scale: float,
        num_branches: int = 2,
        constrain: types.Constrain = types.keep_placement,
        rngs: nnx.Rngs,
    ):
        self.time = TimeEmbedding(width, constrain=constrain, rngs=rngs)
        self.label = LabelEmbedding(
            num_classes, width, scale=label_scale, constrain=constrain, rngs=rngs
        )
        columns = 3 * num_branches * width
        self.kernel = nnx.Param(
            jnp.zeros((depth, width, columns)),
            out_sharding=("layers", "signal", "modulation"),
        )
        self.bias = nnx.Param(
            jnp.zeros((depth, columns)), out_sharding=("layers", "modulation")
        )
        self.constrain = constrain
        self.head = linear(
            width,
            2 * width,
            ("signal", "modulation"),
            kernel_init=nnx.initializers.zeros_init(),
            precision=EXACT,
            rngs=rngs,
        )

    def __call__(
        self, t: Float[Array, " B"], conditioning: types.Conditioning
    ) -> Modulations:
        """A missing label is the null label for all rows; fps is not used."""
        refuse(conditioning, ("mask", "text", "text_mask", "pooled"), "adaLN-Zero")
        label = conditioning.label
        if label is None:
            label = jnp.full(t.shape, self.label.num_classes, jnp.int32)
        signal = jax.nn.silu(self.time(t) + self.label(jnp.asarray(label)))
        layers = jnp.einsum("bd,ldm->lbm", signal, self.kernel[...], precision=EXACT)
        layers = self.constrain(layers + self.bias[:, None], ("layers", "batch", None))
        head = self.constrain(self.head(signal), ("batch", None))
        (depth, batch, _), width = layers.shape, signal.shape[-1]
        return Modulations(
            layers=layers.reshape(depth, batch, -1, width),
            head=head.reshape(batch, 2, width),
        )


def refuse(
    conditioning: types.Conditioning, fields: tuple[str, ...], part: str
) -> None:
    """ValueError for a field that is given to a part that would ignore it."""
    for field in fields:
        if getattr(conditioning, field) is not None:
            raise ValueError(
                f"conditioning.{field} was given to a model that has no part for it "
                f"({part}); leave it out or choose a model.preset that takes it"
            )
