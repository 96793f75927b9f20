"""How long one step takes at best, and what it waits for.

Products run at the shares of peak in `efficiency`. Passes over memory that are no
products, the updates of the optimizer and exchanges that every product waits for come
on top; all other traffic runs beside them, and the slowest sets the pace:

    step = max(compute + memory, hidden ICI, DCN, host) + exposed ICI

Nothing else is counted: no start of a kernel, no idle device, no input, no imbalance.
So this is a bound for the kernels that are measured, and a real run is slower.
"""

import dataclasses
import math

from dit_jax.parallel.topology import Topology
from dit_jax.planning import communication, efficiency
from dit_jax.planning.communication import Collective
from dit_jax.planning.layout import Layout, spans
from dit_jax.planning.memory import (
    FP32,
    kept_bytes,
    shard_params,
    tokens_per_device,
)
from dit_jax.planning.training import Training
from dit_jax.planning.workload import Workload

BACKWARD_LINEAR = 2.0  # of forward
BACKWARD_SCORES = 2.5  # a kernel that keeps no scores computes them again
# Reads and writes of D numbers a token that no product does, forward: two norms with
# their modulation, and the norm and rotation of q and k, each read and written.
PASSES = 2 * 2 + 4
PASSES_BACKWARD = 2 * PASSES
UPDATE_BYTES = 12  # a parameter: gradient read, parameter read and written
EMA_BYTES = 12  # parameter and EMA read, EMA written


@dataclasses.dataclass(frozen=True)
class Term:
    """Seconds of a step on one device that one resource is busy."""

    seconds: float
    formula: str


@dataclasses.dataclass(frozen=True)
class Roofline:
    terms: dict[str, Term]
    step_s: float
    bound: str
    mfu: float
    model_flops: float  # of a device, a step
    hardware_flops: float  # with what is computed again
    bound_mfu: float  # at peak in all products: what recomputation leaves


def roofline(
    workload: Workload,
    training: Training,
    layout: Layout,
    topology: Topology,
    traffic: tuple[Collective, ...],
) -> Roofline:
    terms = {
        "compute": compute(workload, training, topology),
        "memory": memory_passes(workload, training, layout, topology),
        **_traffic(traffic, layout, topology),
        "host": _host(workload, training, layout, topology),
    }
    paces = {
        "compute": terms["compute"].seconds + terms["memory"].seconds,
        "ici": terms["ici hidden"].seconds,
        "dcn": terms["dcn"].seconds,
        "host": terms["host"].seconds,
    }
    exposed = terms["ici exposed"].seconds
    bound = max(paces, key=lambda name: paces[name])
    step_s = paces[bound] + exposed
    if bound == "compute" and terms["memory"].seconds > terms["compute"].seconds:
        bound = "hbm"
    if exposed > paces["compute"] and bound == "compute":
        bound = "ici"
    model = training.batch_size * workload.train_flops / topology.num_devices
    hardware = hardware_flops(workload, training, topology)
    return Roofline(
        terms=terms,
        step_s=step_s,
        bound=bound,
        mfu=model / step_s / topology.chip.bf16_flops,
        model_flops=model,
        hardware_flops=hardware,
        bound_mfu=model / hardware,
    )


def hardware_flops(workload: Workload, training: Training, topology: Topology) -> float:
    """Of a device in a step, with recomputation and the kernels' own."""
    linear, forward, backward = _factors(training)
    each = linear * workload.linear_flops
    each += (forward + backward) * workload.scores_flops
    return training.batch_size * each / topology.num_devices


def _factors(training: Training) -> tuple[float, float, float]:
    """Products of a step as multiples of one forward pass: linear maps, attention
    forward, attention backward."""
    policy = training.policy
    return 1 + BACKWARD_LINEAR + policy.linear, 1.0 + policy.scores, BACKWARD_SCORES


def compute(workload: Workload, training: Training, topology: Topology) -> Term:
    chip, shares = topology.chip, efficiency.of(topology.chip)
    linear, forward, backward = _factors(training)
    head_dim, lanes = workload.head_dim, shares.lanes
    eta_f = efficiency.attention(shares.forward, head_dim, lanes)
    eta_b = efficiency.attention(shares.backward, head_dim, lanes)
    linear_s = linear * workload.linear_flops / shares.matmul
    scores_s = workload.scores_flops * (forward / eta_f + backward / eta_b)
    share = training.batch_size / topology.num_devices
    return Term(
        share * (linear_s + scores_s) / chip.bf16_flops,
        f"({linear:g} linear / {shares.matmul:.3f} + scores ({forward:g} / {eta_f:.3f} "
        f"+ {backward:g} / {eta_b:.3f})) x batch / devices / {chip.bf16_flops:.4g} "
        f"FLOP/s; linear {workload.linear_flops:.4g}, scores "
        f"{workload.scores_flops:.4g} FLOP an example",
    )


def memory_passes(
    workload: Workload, training: Training, layout: Layout, topology: Topology
) -> Term:
    """Traffic with HBM that products do not hide."""
    c = training.compute_bytes
    passes = PASSES * (1 + training.policy.linear) + PASSES_BACKWARD
    tokens = tokens_per_device(workload, training, layout) * training.microbatches
    layers = passes * c * workload.width * tokens * workload.depth
    stored = workload.stored_scores(training.attention) / workload.tokens
    # scores forward: written and read in both forms; backward twice that
    runs = 3 + training.policy.scores
    scores = runs * 2 * (FP32 + c) * stored * tokens * workload.depth / layout.tensor
    update = UPDATE_BYTES + 2 * training.state_bytes
    update += EMA_BYTES if training.ema else 0
    states = update * shard_params(workload, layout)
    rate = topology.chip.hbm_bytes_per_s
    return Term(
        (layers + scores + states) / rate,
        f"({passes} passes x {c} bytes x D x tokens x layers = {layers:.4g} + written "
        f"scores {scores:.4g} + optimizer {update} bytes x parameters of a device = "
        f"{states:.4g}) / {rate:.4g} bytes/s",
    )


def _traffic(
    traffic: tuple[Collective, ...], layout: Layout, topology: Topology
) -> dict[str, Term]:
    links = spans(layout, topology)
    sums = {"ici hidden": 0.0, "ici exposed": 0.0, "dcn": 0.0}
    for one in traffic:
        inside, outside = communication.seconds(one, layout, links)
        sums["ici hidden" if one.hidden else "ici exposed"] += inside
        sums["dcn"] += outside
    chip = topology.chip
    ici = (
        f"bytes a device receives / its links of each axis, "
        f"{chip.links_bytes_per_s:.3g} bytes/s one way a link"
    )
    return {
        "ici hidden": Term(sums["ici hidden"], f"weights, gradients, rings: {ici}"),
        "ici exposed": Term(sums["ici exposed"], f"exchanges of activations: {ici}"),
        "dcn": Term(
            sums["dcn"],
            f"bytes a device receives from other groups / {chip.dcn_bytes_per_s:.3g} "
            "bytes/s",
        ),
    }


def _host(
    workload: Workload, training: Training, layout: Layout, topology: Topology
) -> Term:
    policy, rate = training.policy, topology.chip.host_bytes_per_s
    if not policy.host:
        return Term(0.0, "nothing is kept in the host's memory")
    tokens = tokens_per_device(workload, training, layout) * training.microbatches
    kept = kept_bytes(workload, policy, layout, training.compute_bytes)
    moved = 2 * kept * tokens * workload.depth
    return Term(moved / rate, f"{moved:.4g} bytes out and in / {rate:.3g} bytes/s")


def days(step_s: float, batch_size: int, num_samples: int) -> float:
    return math.ceil(num_samples / batch_size) * step_s / 86_400
