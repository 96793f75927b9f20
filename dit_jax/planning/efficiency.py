"""The share of its bfloat16 peak that a chip reaches in the kernels of a training.

Only figures of kernels alone are used, never those of whole trainings: what a training
loses to communication, memory and recomputation is what the planner adds itself. Where
a figure can be read in two ways the lower is taken. The published measurements:

  I   Ironwood (tpu7x), bfloat16 products of m = n = k: 350, 679, 893 and 956 TFLOP/s at
      1024, 2048, 4096 and 32768; peak 1153.5.
  S   Ironwood, splash attention, causal, 32 query and 8 key heads, batch 1; share of
      the peak forward / backward at 131,072 tokens: heads of 128 .343 / .372, heads of
      256 .634 / .717. At 4,096 tokens: .206 / .252 and .358 / .480. A causal mask cuts
      the blocks at its diagonal, fewer of them the longer the sequence; video attends
      to everything, so that the longest sequence is the measurement that fits.
  H   H100, attention forward, not causal, 16,384 tokens: cuDNN, heads of 128, 595
      TFLOP/s; flash attention 3, heads of 128, 648; cuDNN, heads of 64, 413 and of
      256, 509 to 581; peak 989.

No other figure of a kernel was found. Chips without one take those of the chip of their
vendor that has them, in shares of their own peak:

  products    v4, v5e, v5p, v6e: I. No figure of a GPU's products was found; the fastest
              kernel measured on one (H, 648) stands in for all of them.
  attention   v6e: S, its matrix unit is 256 wide like Ironwood's. The units of v4, v5e
              and v5p are 128 wide: heads of 128 fill them as heads of 256 fill
              Ironwood's, which would make S's figure for 256 theirs at 128. The lower
              reading, S at the same width of 128, is taken, and wider heads are
              credited with no more, for there is nothing left to fill.
  backward    GPUs: no figure; the forward's. It recomputes the scores, which
              `roofline` counts, at about the same rate.

Heads that do not fill 128 lanes of a TPU are padded: 72 channels cost what 128 do.
"""

import dataclasses
import math

from dit_jax.parallel.chips import Chip

LANES = 128  # of a TPU's vector and matrix units


@dataclasses.dataclass(frozen=True)
class Efficiency:
    """Shares of the bfloat16 peak. forward, backward: of attention, by head width.
    lanes: head widths are padded to multiples of it."""

    matmul: float
    forward: dict[int, float]
    backward: dict[int, float]
    lanes: int
    source: str


IRONWOOD_MATMUL = 956 / 1153.5  # I
IRONWOOD = Efficiency(
    matmul=IRONWOOD_MATMUL,
    forward={128: 0.343, 256: 0.634},  # S
    backward={128: 0.372, 256: 0.717},  # S
    lanes=LANES,
    source="measured: products at m = n = k = 32768, splash at 131,072 causal tokens",
)
NARROW = Efficiency(
    matmul=IRONWOOD_MATMUL,
    forward={128: 0.343},
    backward={128: 0.372},
    lanes=LANES,
    source="no figures of its own; tpu7x's, attention as with heads of 128",
)
HOPPER = {64: 413 / 989, 128: 595 / 989, 256: 509 / 989}  # H, cuDNN
GPU = Efficiency(
    matmul=648 / 989,
    forward=HOPPER,
    backward=HOPPER,
    lanes=8,
    source="attention forward measured on H100 (cuDNN), its backward taken as equal; "
    "products as flash attention 3 on H100",
)

EFFICIENCIES: dict[str, Efficiency] = {
    "v4": NARROW,
    "v5e": NARROW,
    "v5p": NARROW,
    "v6e": dataclasses.replace(IRONWOOD, source="no figures of its own; tpu7x's"),
    "tpu7x": IRONWOOD,
    "a100": dataclasses.replace(GPU, source=f"no figures of its own; {GPU.source}"),
    "h100": GPU,
    "h200": GPU,
    "b200": dataclasses.replace(GPU, source=f"no figures of its own; {GPU.source}"),
}


def of(chip: Chip) -> Efficiency:
    return EFFICIENCIES[chip.name]


def attention(shares: dict[int, float], head_dim: int, lanes: int) -> float:
    """The share at a head width, of the multiply-adds that are asked for.

    That of the widest measured heads which are not wider, less what is padding; heads
    narrower than any measured are padded to the narrowest.
    """
    padded = max(math.ceil(head_dim / lanes) * lanes, min(shares))
    width = max(width for width in shares if width <= padded)
    return shares[width] * head_dim / padded
