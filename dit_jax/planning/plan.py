"""A training on a machine, predicted: memory, traffic and time of one step.

A plan holds every quantity by name (`predictions`), so that figures of a compiled
program can stand beside those of the formulas.
"""

import dataclasses
import json
from typing import Any

from dit_jax.parallel.topology import Topology
from dit_jax.planning import efficiency, roofline
from dit_jax.planning.communication import Collective, collectives
from dit_jax.planning.layout import Layout, check
from dit_jax.planning.memory import Memory, memory
from dit_jax.planning.roofline import Roofline
from dit_jax.planning.training import Training
from dit_jax.planning.workload import Workload

FORMAT_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Plan:
    """num_samples: of the budget that `days` are for."""

    workload: Workload
    training: Training
    layout: Layout
    topology: Topology
    memory: Memory
    collectives: tuple[Collective, ...]
    roofline: Roofline
    num_samples: int

    @property
    def fits(self) -> bool:
        return self.memory.fits

    @property
    def step_s(self) -> float:
        return self.roofline.step_s

    @property
    def samples_per_s(self) -> float:
        return self.training.batch_size / self.step_s

    @property
    def days(self) -> float:
        return roofline.days(self.step_s, self.training.batch_size, self.num_samples)

    @property
    def sent_bytes(self) -> float:
        """That one device sends in a step."""
        return sum((one.sent for one in self.collectives), start=0.0)

    def predictions(self) -> dict[str, float]:
        """Every quantity that a compiled program or a run can be asked for too."""
        return {
            "parameters": float(self.workload.num_params),
            "model_flops": self.roofline.model_flops,
            "hardware_flops": self.roofline.hardware_flops,
            "memory_bytes": self.memory.total,
            "state_bytes": self.memory.states,
            "sent_bytes": self.sent_bytes,
            "step_s": self.step_s,
            "mfu": self.roofline.mfu,
            "samples_per_s": self.samples_per_s,
            "days": self.days,
        }

    def to_json(self) -> dict[str, Any]:
        """Inputs, constants, formulas and predictions, as JSON can hold them."""
        return json.loads(json.dumps(self._content()))

    def _content(self) -> dict[str, Any]:
        chip, workload = self.topology.chip, self.workload
        return {
            "format_version": FORMAT_VERSION,
            "inputs": {
                "topology": self.topology.name,
                "devices": self.topology.num_devices,
                "chip": dataclasses.asdict(chip),
                "efficiency": dataclasses.asdict(efficiency.of(chip)),
                "mesh": {**self.layout.sizes, "ring": self.layout.ring},
                "training": dataclasses.asdict(self.training),
                "num_samples": self.num_samples,
                "model": {
                    "name": workload.name,
                    "tokens": workload.tokens,
                    "depth": workload.depth,
                    "width": workload.width,
                    "hidden": workload.hidden,
                    "num_heads": workload.num_heads,
                },
            },
            "parameters": workload.params_by_part(),
            "flops_forward_per_example": dict(workload.flops),
            "memory": {
                "bytes": dict(self.memory.bytes),
                "host_bytes": self.memory.host_bytes,
                "capacity": self.memory.capacity,
                "formulas": dict(self.memory.formulas),
            },
            "collectives": [
                {**dataclasses.asdict(one), "axes": one.axis, "sent": one.sent}
                for one in self.collectives
            ],
            "roofline": dataclasses.asdict(self.roofline),
            "predictions": self.predictions(),
            "fits": self.fits,
        }


def make(
    workload: Workload,
    training: Training,
    layout: Layout,
    topology: Topology,
    num_samples: int | None = None,
) -> Plan:
    """UserError for a mesh that batch, tokens, heads or parameters do not divide."""
    check(layout, workload, training.batch_size, training.microbatches)
    traffic = collectives(workload, training, layout)
    return Plan(
        workload=workload,
        training=training,
        layout=layout,
        topology=topology,
        memory=memory(workload, training, layout, topology),
        collectives=traffic,
        roofline=roofline.roofline(workload, training, layout, topology, traffic),
        num_samples=num_samples or training.num_steps * training.batch_size,
    )
