"""What a model costs, counted by formula: parameters and multiply-adds.

Letters: L layers, D width, F MLP width, N tokens, P numbers in a patch. One
multiply-add (MAC) is two floating-point operations; norms, softmax and activations are
not counted, nor is recomputation in the backward pass. A published "GFLOPs" of the DiT
family is a count of multiply-adds.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from dit_jax.models.conditioning import TIME_DIMS
from dit_jax.models.patches import token_grid


@dataclasses.dataclass(frozen=True)
class Cost:
    """params: exact number of parameters, by part. macs: forward multiply-adds of one
    example, by part. Parts: embeddings, attention_linear, attention_scores, mlp,
    modulation, head."""

    params: dict[str, int]
    macs: dict[str, int]
    num_tokens: int

    @property
    def num_params(self) -> int:
        return sum(self.params.values())

    @property
    def forward_macs(self) -> int:
        return sum(self.macs.values())

    @property
    def train_flops(self) -> int:
        """One example forward and backward: 3 x forward, 2 operations a MAC."""
        return 6 * self.forward_macs


def joint_cost(
    values: Mapping[str, Any],
    latent_shape: tuple[int, int, int, int],
    num_classes: int,
    out_channels: int | None = None,
) -> Cost:
    """The cost of `joint.build` with the same arguments."""
    *size, channels = latent_shape
    patch, L, D = values["patch"], values["depth"], values["width"]
    F = round(D * values["mlp_ratio"])
    N = math.prod(token_grid(size, patch))
    P_in = math.prod(patch) * channels
    P_out = math.prod(patch) * (out_channels or channels)
    qk_scales = 2 * (D // values["num_heads"]) if values["qk_norm"] else 0
    time = TIME_DIMS * D + D * D
    return Cost(
        params={
            "embeddings": (P_in + 1) * D + time + 2 * D + (num_classes + 1) * D,
            "attention_linear": L * (4 * D * D + 4 * D + qk_scales),
            "attention_scores": 0,
            "mlp": L * (2 * D * F + F + D),
            "modulation": (6 * L + 2) * (D * D + D),
            "head": (D + 1) * P_out,
        },
        macs={
            "embeddings": N * P_in * D + time,
            "attention_linear": L * N * 4 * D * D,
            "attention_scores": L * 2 * N * N * D,
            "mlp": L * N * 2 * D * F,
            "modulation": (6 * L + 2) * D * D,
            "head": N * D * P_out,
        },
        num_tokens=N,
    )
