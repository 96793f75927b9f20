"""How a model is trained: what decides memory and work beside model and mesh."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from dit_jax.errors import choose
from dit_jax.models.attention import ATTENTIONS


@dataclasses.dataclass(frozen=True)
class Remat:
    """What a layer keeps for its backward pass, in numbers of the compute dtype a
    token: `widths` times D plus `hiddens` times F; and `lse`, one float32 a head.

    linear, scores: how often the backward pass computes forward products again.
    exchanges: how many of q, k, v and the output travel again for it.
    host: what is kept lies in the host's memory.
    """

    widths: int
    hiddens: int
    lse: bool
    linear: int
    scores: int
    exchanges: int
    host: bool = False


REMATS: dict[str, Remat] = {
    # the layer's input, q, k, v, the attention's output, what both branches add, and
    # the MLP's hidden numbers
    "none": Remat(widths=7, hiddens=1, lse=True, linear=0, scores=0, exchanges=0),
    "full": Remat(widths=1, hiddens=0, lse=False, linear=1, scores=1, exchanges=4),
    "attention": Remat(widths=2, hiddens=0, lse=True, linear=1, scores=0, exchanges=4),
    "offload": Remat(
        widths=2, hiddens=0, lse=True, linear=1, scores=0, exchanges=4, host=True
    ),
}
# What a layer holds while its backward pass runs: the stream twice, each branch's
# normed input and output, q, k, v, q and k normed, the attention's output; the hidden
# numbers before and after GELU.
INSIDE = Remat(widths=12, hiddens=2, lse=True, linear=0, scores=0, exchanges=0)

COMPUTE_BYTES = {"bfloat16": 2, "float32": 4}
# Bytes of float32 state a parameter, beside parameter and EMA. Adafactor keeps sums
# over rows and columns, Muon one momentum for each matrix, which nearly all are.
OPTIMIZER_BYTES = {"adamw": 8, "muon": 4, "lion": 4, "adafactor": 0}

CHOICES: dict[str, tuple[Mapping[str, Any], str]] = {
    "remat": (REMATS, "model.remat"),
    "optimizer": (OPTIMIZER_BYTES, "optimizer.name"),
    "attention": (ATTENTIONS, "model.attention"),
    "dtype": (COMPUTE_BYTES, "model.dtype"),
}


@dataclasses.dataclass(frozen=True)
class Training:
    """dtype: what the model computes in. attention: its form, as `model.attention`."""

    batch_size: int
    num_steps: int
    microbatches: int = 1
    remat: str = "full"
    optimizer: str = "adamw"
    attention: str = "chunked"
    dtype: str = "bfloat16"
    ema: bool = True

    def __post_init__(self):
        """UserError for a name that is not known."""
        for field, (table, key) in CHOICES.items():
            choose(table, getattr(self, field), key)

    @property
    def policy(self) -> Remat:
        return REMATS[self.remat]

    @property
    def writes_scores(self) -> bool:
        """Whether attention among the tokens does; that to a context always does."""
        return ATTENTIONS[self.attention].writes_scores

    @property
    def compute_bytes(self) -> int:
        return COMPUTE_BYTES[self.dtype]

    @property
    def state_bytes(self) -> int:
        """Of the optimizer, a parameter."""
        return OPTIMIZER_BYTES[self.optimizer]

    def describe(self) -> str:
        return (
            f"batch {self.batch_size} in {self.microbatches} part(s), remat "
            f"{self.remat}, {self.optimizer}, attention {self.attention}, {self.dtype}"
        )
