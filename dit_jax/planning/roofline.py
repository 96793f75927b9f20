"""How long one step takes at best, and what it waits for.

Products run at the shares of peak in `efficiency`. Passes over memory that are no
products, the updates of the optimizer, and exchanges that every product waits for come
on top; keys and values go round beside attention, and all other traffic beside
everything, so that the slowest sets the pace:

    step = max(linear + max(attention, ring) + memory, ici, dcn, host) + exchanges

Nothing else is counted: no start of a kernel, no idle device, no input, no imbalance.
So this is a bound for the kernels that are measured, and a real run is slower. What
binds is the resource that is busy longest: compute, hbm, ici, dcn or the host's link.
"""

import dataclasses
import math

from dit_jax.parallel.topology import Topology
from dit_jax.planning import efficiency, links
from dit_jax.planning.communication import Collective
from dit_jax.planning.layout import Layout
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
    """A part of a step on one device."""

    seconds: float
    formula: str


@dataclasses.dataclass(frozen=True)
class Roofline:
    """busy: seconds of a step that each resource works. model_flops, hardware_flops: of
    a device and step, without and with what is computed again. mfu: of the predicted
    step; max_mfu: of products at peak, which is what recomputation leaves."""

    terms: dict[str, Term]
    busy: dict[str, float]
    step_s: float
    bound: str
    mfu: float
    max_mfu: float
    model_flops: float
    hardware_flops: float


def roofline(
    workload: Workload,
    training: Training,
    layout: Layout,
    topology: Topology,
    traffic: tuple[Collective, ...],
) -> Roofline:
    moved, links_s, network_s = _traffic(traffic, layout, topology)
    terms = {
        **products(workload, training, topology),
        "memory": memory_passes(workload, training, layout, topology),
        **moved,
        "host": _host(workload, training, layout, topology),
    }
    took = {name: term.seconds for name, term in terms.items()}
    kernels = took["linear"] + max(took["attention"], took["ring"]) + took["memory"]
    pace = max(kernels, took["ici"], took["dcn"], took["host"])
    step_s = pace + took["exchanges"]
    busy = {
        "compute": took["linear"] + took["attention"],
        "hbm": took["memory"],
        "ici": links_s,
        "dcn": network_s,
        "host": took["host"],
    }
    model = training.batch_size * workload.train_flops / topology.num_devices
    hardware = hardware_flops(workload, training, topology)
    return Roofline(
        terms=terms,
        busy=busy,
        step_s=step_s,
        bound=max(busy, key=lambda name: busy[name]),
        mfu=model / step_s / topology.chip.bf16_flops,
        max_mfu=model / hardware,
        model_flops=model,
        hardware_flops=hardware,
    )


def hardware_flops(workload: Workload, training: Training, topology: Topology) -> float:
    """Of a device in a step, with recomputation and the kernels' own."""
    linear, *_ = _factors(training)
    each = training.batch_size * workload.linear_flops / topology.num_devices
    return linear * each + scores_flops(workload, training, topology)


def scores_flops(workload: Workload, training: Training, topology: Topology) -> float:
    """Of attention's scores alone, forward and backward."""
    _, forward, backward = _factors(training)
    each = training.batch_size * workload.scores_flops / topology.num_devices
    return (forward + backward) * each


def _factors(training: Training) -> tuple[float, float, float]:
    """Products of a step as multiples of one forward pass: linear maps, attention
    forward, attention backward."""
    policy = training.policy
    backward = BACKWARD_LINEAR if training.writes_scores else BACKWARD_SCORES
    return 1 + BACKWARD_LINEAR + policy.linear, 1.0 + policy.scores, backward


def products(
    workload: Workload, training: Training, topology: Topology
) -> dict[str, Term]:
    """The kernels of a step: linear maps and attention."""
    chip, shares = topology.chip, efficiency.of(topology.chip)
    linear, forward, backward = _factors(training)
    head_dim, lanes = workload.head_dim, shares.lanes
    eta_f = efficiency.attention(shares.forward, head_dim, lanes)
    eta_b = efficiency.attention(shares.backward, head_dim, lanes)
    rows = training.batch_size / topology.num_devices
    linear_s = linear * workload.linear_flops / shares.matmul
    scores_s = workload.scores_flops * (forward / eta_f + backward / eta_b)
    words = f"x {rows:.4g} examples a device / {chip.bf16_flops:.4g} FLOP/s"
    return {
        "linear": Term(
            rows * linear_s / chip.bf16_flops,
            f"{linear:g} x {workload.linear_flops:.4g} FLOP / {shares.matmul:.3f} "
            + words,
        ),
        "attention": Term(
            rows * scores_s / chip.bf16_flops,
            f"{workload.scores_flops:.4g} FLOP x ({forward:g} / {eta_f:.3f} + "
            f"{backward:g} / {eta_b:.3f}) {words}",
        ),
    }


def memory_passes(
    workload: Workload, training: Training, layout: Layout, topology: Topology
) -> Term:
    """Traffic with HBM that products do not hide."""
    c = training.compute_bytes
    passes = PASSES * (1 + training.policy.linear) + PASSES_BACKWARD
    tokens = tokens_per_device(workload, training, layout) * training.microbatches
    layers = passes * c * workload.width * tokens * workload.depth
    stored = workload.stored_scores(training.writes_scores) / workload.tokens
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
) -> tuple[dict[str, Term], float, float]:
    """Terms, and the seconds that links inside and between groups are busy."""
    chip, spans = topology.chip, links.spans(layout, topology)
    took = dict.fromkeys(("ici", "dcn", "ring", "exchanges"), 0.0)
    links_s = network_s = 0.0
    for one in traffic:
        inside, outside = links.seconds(one, spans, chip)
        links_s, network_s = links_s + inside, network_s + outside
        if one.kind == "collective-permute":
            took["ring"] += inside + outside
        elif one.hidden:
            took["ici"] += inside
            took["dcn"] += outside
        else:
            took["exchanges"] += inside + outside
    link = f"a link {chip.links_bytes_per_s:.3g} bytes/s one way"
    network = f"the network {chip.dcn_bytes_per_s:.3g} bytes/s one way"
    formulas = {
        "ici": f"weights and gradients, bytes received in a group / its links; {link}",
        "dcn": f"the same between groups; {network}",
        "ring": f"keys and values, hops one after another; {link}, {network}",
        "exchanges": f"activations that products wait for; {link}, {network}",
    }
    terms = {name: Term(took[name], formulas[name]) for name in took}
    return terms, links_s, network_s


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
