"""The order of examples: a pure function of (seed, epoch, index), without state.

Global index i belongs to epoch `i // n` and is shuffled inside it; global batch k is
the indices [k B, (k + 1) B). So every epoch visits every example once, whatever the
batch size, and one integer says where a run stands. Where sources repeat, an epoch is
that many visits of each of their examples.
"""

import zlib
from collections.abc import Sequence

from grain import experimental

# Rounds of Grain's index cipher; its own shuffle uses the same number.
ROUNDS = 4


def epoch(sources: Sequence[int], repeats: Sequence[int]) -> list[int]:
    """The visits of one epoch: example i as often as its source `sources[i]` says."""
    return [i for i, source in enumerate(sources) for _ in range(repeats[int(source)])]


def position(index: int, *, num_examples: int, seed: int) -> int:
    """Which example stands at a global index."""
    epoch, inside = divmod(index, num_examples)
    # A digest and not seed + epoch: epoch 1 of seed 0 is not epoch 0 of seed 1.
    epoch_seed = zlib.crc32(f"{seed}/{epoch}".encode())
    return experimental.index_shuffle(
        inside, max_index=num_examples - 1, seed=epoch_seed, rounds=ROUNDS
    )
