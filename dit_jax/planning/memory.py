"""Bytes that one device holds at the peak of a step, by kind.

States lie where `parallel.sharding` puts each parameter, so their bytes are exact. The
peak is in the backward pass of a layer: all that layers keep is there, and so is the
inside of one layer.
"""

import dataclasses
import math
from collections.abc import Mapping

from jax.sharding import NamedSharding

from dit_jax.parallel import sharding
from dit_jax.parallel.topology import Topology
from dit_jax.planning.layout import Layout
from dit_jax.planning.training import INSIDE, Remat, Training
from dit_jax.planning.workload import Parameter, Workload

FP32 = 4
LATENT_COPIES = 5  # float32: latents, noise, their mixture, the target, the prediction


@dataclasses.dataclass(frozen=True)
class Memory:
    """bytes: on a device, by kind. host_bytes: beside it. capacity: of the device."""

    bytes: Mapping[str, float]
    host_bytes: float
    capacity: float
    formulas: Mapping[str, str]

    @property
    def total(self) -> float:
        return sum(self.bytes.values())

    @property
    def states(self) -> float:
        """What stays between steps."""
        return sum(self.bytes[kind] for kind in ("parameters", "optimizer", "ema"))

    @property
    def fits(self) -> bool:
        return self.total <= self.capacity


FORMULAS = {
    "parameters": "4 n, n = parameters of a device by the sharding rules",
    "optimizer": "{state} n ({optimizer})",
    "ema": "4 n",
    "copy": "{c} n, the weights in the compute dtype",
    "gradients": "4 n",
    "activations": "layers x tokens x what remat={remat} keeps",
    "layer": "the inside of one layer, its gathered weights (twice) and their gradient",
    "modulation": "float32 modulations of all layers and their gradient",
    "batch": f"{LATENT_COPIES} float32 copies of the latents",
}


def memory(
    workload: Workload, training: Training, layout: Layout, topology: Topology
) -> Memory:
    n, c = shard_params(workload, layout), training.compute_bytes
    tokens = tokens_per_device(workload, training, layout)
    kept = kept_bytes(workload, training.policy, layout, c)
    if not training.policy.linear:  # no product runs again: written scores are kept
        scores = workload.stored_scores(training.writes_scores) / workload.tokens
        kept += FP32 * scores / layout.tensor
    kept *= tokens * workload.depth
    rows = training.batch_size / layout.ways(("data", "fsdp"))
    in_flight = rows / training.microbatches
    on_host = training.policy.host
    found = {
        "parameters": FP32 * n,
        "optimizer": training.state_bytes * n,
        "ema": FP32 * n if training.ema else 0.0,
        "copy": c * n if c < FP32 else 0.0,
        "gradients": FP32 * n,
        # while one layer's are used the next one's arrive
        "activations": kept * 2 / workload.depth if on_host else kept,
        "layer": layer_bytes(workload, training, layout),
        "modulation": 2 * FP32 * in_flight * workload.modulation,
        "batch": LATENT_COPIES * FP32 * rows * workload.example_numbers,
    }
    words = {
        "state": training.state_bytes,
        "optimizer": training.optimizer,
        "c": c,
        "remat": training.remat,
    }
    return Memory(
        bytes={kind: float(size) for kind, size in found.items()},
        host_bytes=kept if on_host else 0.0,
        capacity=topology.chip.hbm_bytes,
        formulas={kind: text.format(**words) for kind, text in FORMULAS.items()},
    )


def shard_params(workload: Workload, layout: Layout) -> int:
    """Parameters that one device holds."""
    return sum(shard_size(parameter, layout) for parameter in workload.parameters)


def shard_size(parameter: Parameter, layout: Layout) -> int:
    placed = NamedSharding(layout.mesh, sharding.spec(parameter.axes))
    return math.prod(placed.shard_shape(parameter.shape))


def tokens_per_device(workload: Workload, training: Training, layout: Layout) -> float:
    """Tokens of one microbatch on one device."""
    rows = training.batch_size / layout.ways(("data", "fsdp"))
    return rows / training.microbatches * workload.tokens / layout.context


def kept_bytes(
    workload: Workload, policy: Remat, layout: Layout, compute_bytes: int
) -> float:
    """What one layer keeps of one token. The stream and what joins it are whole on
    every tensor device; hidden numbers and heads are divided."""
    kept = float(policy.widths * workload.width)
    kept += policy.hiddens * workload.hidden / layout.tensor
    lse = FP32 * workload.num_heads / layout.tensor if policy.lse else 0.0
    return kept * compute_bytes + lse


def layer_bytes(workload: Workload, training: Training, layout: Layout) -> float:
    """The inside of a layer: all it computes, scores that are written, its weights."""
    c = training.compute_bytes
    tokens = tokens_per_device(workload, training, layout)
    inside = tokens * kept_bytes(workload, INSIDE, layout, c)
    cotangents = tokens * c * (workload.width + workload.hidden / layout.tensor)
    weights = 3 * c * layer_params(workload) / layout.tensor
    return inside + cotangents + weights + scores_bytes(workload, training, layout)


def scores_bytes(workload: Workload, training: Training, layout: Layout) -> float:
    """Written scores of a layer: float32, and the weights in the compute dtype."""
    tokens = tokens_per_device(workload, training, layout)
    scores = workload.stored_scores(training.writes_scores) / workload.tokens
    return tokens * scores / layout.tensor * (FP32 + training.compute_bytes)


def layer_params(workload: Workload) -> float:
    """Parameters of one layer, without its modulation: the mean over the stack."""
    scanned = (p.size for p in workload.parameters if p.num_layers)
    return sum(scanned) / workload.depth
