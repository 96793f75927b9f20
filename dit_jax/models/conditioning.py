"""How a model is told the time, the label and the text.

A conditioning part is a module `(t, conditioning) -> Signals`, called once a forward
pass. It embeds what it is
given as vectors (`embeddings.py`) and hands them to the stack in one of four ways: as
modulations of every branch (adaLN), as modulations with one shared projection
(adaLN-single), as tokens in front of the patches (in-context), or as the context that
cross-attention reads. It refuses, with a sentence, what it has no use for.

Letters: G groups of tokens that share a time, 1 or the number of latent frames.
"""

import dataclasses
from collections.abc import Callable, Mapping, Set

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from dit_jax import types
from dit_jax.models.embeddings import EXACT, FIELDS
from dit_jax.models.primitives import linear


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Signals:
    """Conditioning as the stack and the head receive it, float32.

    layers: the modulation rows of every layer's branches, in the branches' order;
    `parts` may be 0. head: shift and scale, or None. tokens: in front of the patches,
    `tokens_mask` True where there is one. context: what cross-attention reads, and
    where.
    """

    layers: Float[Array, "L B G parts D"]
    head: Float[Array, "B G 2 D"] | None = None
    tokens: Float[Array, "B K D"] | None = None
    tokens_mask: Bool[Array, "B K"] | None = None
    context: Float[Array, "B M D"] | None = None
    context_mask: Bool[Array, "B M"] | None = None


Delivery = Callable[..., nnx.Module]
"""`(rngs=...) -> (vectors [K, B, G, D]) -> Signals`: one of the four ways."""


class Conditioner(nnx.Module):
    """Embeds the parts of a `Conditioning` and delivers them.

    vectors: factories by name, each `(rngs=...) -> (t, conditioning) -> [B, G, D]`.
    sequences: by name, a factory `(rngs=...) -> (t, conditioning) -> (tokens, mask)`
    and the field of `Signals` that its tokens go to, "tokens" or "context".
    """

    def __init__(
        self,
        vectors: Mapping[str, Callable[..., nnx.Module]],
        delivery: Delivery,
        sequences: Mapping[str, tuple[Callable[..., nnx.Module], str]],
        *,
        rngs: nnx.Rngs,
    ):
        self.names = tuple(vectors)
        for name, make in vectors.items():
            setattr(self, name, make(rngs=rngs))
        self.delivery = delivery(rngs=rngs)
        self.places = tuple((name, where) for name, (_, where) in sequences.items())
        for name, (make, _) in sequences.items():
            setattr(self, name, make(rngs=rngs))

    @property
    def reads(self) -> frozenset[str]:
        """The fields of a conditioning that some part uses."""
        names = (*self.names, *(name for name, _ in self.places))
        return frozenset(field for name in names for field in getattr(self, name).reads)

    def __call__(
        self, t: Float[Array, "..."], conditioning: types.Conditioning
    ) -> Signals:
        """Missing parts of the conditioning are their null. fps is not used."""
        refuse(conditioning, self.reads)
        parts = [getattr(self, name) for name in self.names]
        signals = self.delivery([part(t, conditioning) for part in parts])
        for name, where in self.places:
            tokens, mask = getattr(self, name)(t, conditioning)
            signals = _joined(signals, where, tokens, mask)
        return signals


class AdaLN(nnx.Module):
    """Modulations of all layers from one vector, zero at init. arXiv:2212.09748, 3.2.

    The projections of all layers are one parameter [L, D, parts D], applied once before
    the stack: sharded on its output dim, only the small result is gathered, not a third
    of the model's weights. parts: rows of a layer, 3 a gated branch, 2 one without.
    """

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        parts: int,
        constrain: types.Constrain,
        rngs: nnx.Rngs,
    ):
        self.kernel = nnx.Param(
            jnp.zeros((depth, width, parts * width)),
            out_sharding=("layers", "signal", "modulation"),
        )
        self.bias = nnx.Param(
            jnp.zeros((depth, parts * width)), out_sharding=("layers", "modulation")
        )
        self.head = _head(width, rngs)
        self.constrain = constrain

    def __call__(self, vectors: list[Float[Array, "B _ D"]]) -> Signals:
        signal = _shared(jax.nn.silu(sum(vectors)), self.constrain)
        # one product a layer: for one over all layers at once, XLA's CPU backend turns
        # the kernel and its gradient round
        kernel = self.kernel[...]
        signals = jnp.broadcast_to(signal, (len(kernel), *signal.shape))
        layers = jnp.einsum("lbgd,ldm->lbgm", signals, kernel, precision=EXACT)
        layers = layers + self.bias[:, None, None]
        return _modulations(layers, self.head(signal), self.constrain)


class AdaLNSingle(nnx.Module):
    """One projection for all layers plus a table of every layer; PixArt-alpha,
    arXiv:2310.00426, section 2.3. Table: N(0, 1) / sqrt(D)."""

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        parts: int,
        constrain: types.Constrain,
        rngs: nnx.Rngs,
    ):
        self.shared = linear(
            width, parts * width, ("signal", "modulation"), precision=EXACT, rngs=rngs
        )
        draw = jax.random.normal(rngs.params(), (depth, parts * width))
        self.table = nnx.Param(
            draw * width**-0.5, out_sharding=("layers", "modulation")
        )
        self.head = _head(width, rngs)
        self.constrain = constrain

    def __call__(self, vectors: list[Float[Array, "B _ D"]]) -> Signals:
        signal = _shared(jax.nn.silu(sum(vectors)), self.constrain)
        layers = self.shared(signal)[None] + self.table[:, None, None]
        return _modulations(layers, self.head(signal), self.constrain)


class AsTokens(nnx.Module):
    """Every vector is a token in front of the patches, in order."""

    def __init__(self, *, width: int, depth: int, rngs: nnx.Rngs):
        del rngs
        self.depth, self.width = depth, width

    def __call__(self, vectors: list[Float[Array, "B _ D"]]) -> Signals:
        tokens = jnp.concatenate(vectors, axis=1)
        return Signals(_no_layers(self, tokens), tokens=tokens)


class AsContext(nnx.Module):
    """The vectors, as a short sequence, are what cross-attention reads."""

    def __init__(self, *, width: int, depth: int, rngs: nnx.Rngs):
        del rngs
        self.depth, self.width = depth, width

    def __call__(self, vectors: list[Float[Array, "B _ D"]]) -> Signals:
        context = jnp.concatenate(vectors, axis=1)
        return Signals(_no_layers(self, context), context=context)


def _head(width: int, rngs: nnx.Rngs) -> nnx.Linear:
    return linear(
        width,
        2 * width,
        ("signal", "modulation"),
        kernel_init=nnx.initializers.zeros_init(),
        precision=EXACT,
        rngs=rngs,
    )


def _shared(
    signal: Float[Array, "B G D"], constrain: types.Constrain
) -> Float[Array, "B G D"]:
    """The signals of all rows wherever a part of the modulations is computed."""
    return constrain(signal, ("copies", None, None))


def _modulations(
    layers: Float[Array, "L B G m"],
    head: Float[Array, "B G n"],
    constrain: types.Constrain,
) -> Signals:
    width = head.shape[-1] // 2
    # first where their weights are, then to their rows: it is these small results that
    # travel, and not the weights
    layers = constrain(layers, ("layers", "copies", None, "modulation"))
    head = constrain(head, ("copies", None, "modulation"))
    layers = constrain(layers, ("layers", "batch", None, None))
    head = constrain(head, ("batch", None, None))
    return Signals(
        layers.reshape(*layers.shape[:3], -1, width),
        head=head.reshape(*head.shape[:2], 2, width),
    )


def _no_layers(part: AsTokens | AsContext, vectors: Array) -> Array:
    return jnp.zeros((part.depth, len(vectors), 1, 0, part.width), vectors.dtype)


def _joined(
    signals: Signals,
    where: str,
    tokens: Float[Array, "B K D"],
    mask: Bool[Array, "B K"],
) -> Signals:
    """`signals` with a sequence appended to its tokens or to its context."""
    before, there = getattr(signals, where), getattr(signals, f"{where}_mask")
    if before is not None:
        tokens = jnp.concatenate([before, tokens], axis=1)
        there = jnp.ones(before.shape[:2], bool) if there is None else there
        mask = jnp.concatenate([there, mask], axis=1)
    return dataclasses.replace(signals, **{where: tokens, f"{where}_mask": mask})


def refuse(conditioning: types.Conditioning, used: Set[str]) -> None:
    """ValueError for a field that is given to a model that would ignore it."""
    for field in FIELDS:
        if getattr(conditioning, field) is not None and field not in used:
            raise ValueError(
                f"conditioning.{field} was given to a model that has no part for it; "
                "leave it out or choose a model.preset, model.text or model.frames "
                "that takes it"
            )
