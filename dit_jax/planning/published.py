"""Six published trainings, held against what the planner predicts for them.

Nothing here is fitted: `efficiency` was fixed before the first comparison. A run's
settings are as published, or as its public recipe has them; what neither says is named
in `assumed`.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from dit_jax.models import presets
from dit_jax.parallel import topology
from dit_jax.planning import plan as plan_lib
from dit_jax.planning import workload
from dit_jax.planning.layout import Layout
from dit_jax.planning.plan import FORMAT_VERSION, Plan
from dit_jax.planning.training import Training
from dit_jax.planning.workload import Parameter, Workload

TOLERANCE = 0.2  # of the published step time
BUDGET = 1  # steps: no run states its own
AXES = ("layers", "embed", "mlp")


@dataclasses.dataclass(frozen=True)
class Run:
    """tflops: of the model, a device and second, as published. step_s: as published;
    None where only the rate is, from which it follows. miss: why the prediction is off,
    of a run that it is off for."""

    name: str
    workload: Workload
    training: Training
    topology: str
    layout: Layout
    tflops: float
    step_s: float | None
    source: str
    assumed: str
    miss: str = ""

    def predict(self) -> Plan:
        machine = topology.parse(self.topology)
        return plan_lib.make(self.workload, self.training, self.layout, machine)


@dataclasses.dataclass(frozen=True)
class Comparison:
    run: Run
    plan: Plan

    @property
    def published_s(self) -> float:
        if self.run.step_s is not None:
            return self.run.step_s
        return self.plan.roofline.model_flops / self.run.tflops / 1e12

    @property
    def ratio(self) -> float:
        """Predicted over published step time."""
        return self.plan.step_s / self.published_s

    @property
    def is_met(self) -> bool:
        return abs(self.ratio - 1) <= TOLERANCE

    @property
    def tflops(self) -> float:
        return self.plan.roofline.model_flops / self.plan.step_s / 1e12


def wan_14b(num_tokens: int = 75_600) -> Workload:
    """Wan 2.1 and 2.2 (one expert) at 81 frames of 720p: 21 x 45 x 80 tokens."""
    return workload.transformer(
        "Wan-14B",
        depth=40,
        width=5120,
        num_heads=40,
        tokens=num_tokens,
        hidden=13_824,
        context=512,
        shared_modulation=True,
    )


def flux_dev() -> Workload:
    """19 blocks with weights of their own for 4,096 image and 512 text tokens, then 38
    for all of them: 24 D^2 FLOP a token and block in both."""
    depth, double, width = 57, 19, 3072
    plain = workload.transformer(
        "Flux-dev",
        depth=depth,
        width=width,
        num_heads=24,
        tokens=4608,
        hidden=4 * width,
        modulated=False,
    )
    rows = double * 12 + (depth - double) * 3
    text = Parameter("stack/blocks/text/all", (double, width, 12 * width), AXES)
    modulation = Parameter(
        "conditioning/kernel",
        (1, width, rows * width),
        ("layers", "signal", "modulation"),
    )
    return dataclasses.replace(
        plain,
        parameters=(*plain.parameters, text, modulation),
        flops={**plain.flops, "conditioning": 2.0 * rows * width**2},
        modulation=rows * width,
    )


def dense(
    name: str, num_params: float, *, depth: int, width: int, tokens: int
) -> Workload:
    """A language model as nothing but its linear maps: 2 N FLOP a token."""
    columns = round(num_params / depth / width)
    weights = Parameter("stack/blocks/mlp/all", (depth, width, columns), AXES)
    return Workload(
        name=name,
        parameters=(weights,),
        flops={"linear": 2.0 * weights.size * tokens},
        tokens=tokens,
        depth=depth,
        width=width,
        hidden=4 * width,
        num_heads=width // 128,
        modulation=0,
        example_numbers=tokens,
    )


def dit_xl_2() -> Workload:
    model = presets.resolve("dit-xl/2") | {"preset": "dit-xl/2"}
    return workload.of_model(
        model, latent_shape=(1, 32, 32, 4), num_classes=1000, given_frames=0
    )


def _training(batch_size: int, remat: str, **others: Any) -> Training:
    settings = {"num_steps": BUDGET, "ema": False, **others}
    return Training(batch_size=batch_size, remat=remat, **settings)


def runs() -> list[Run]:
    wan = wan_14b()
    return [
        Run(
            "Wan2.1-14B, v5p-8",
            wan,
            _training(1, "offload"),
            "v5p:2x2x1",
            Layout(context=4),
            tflops=135.9,
            step_s=36.0,
            source="MaxDiffusion, README: fsdp 4, batch 1, HIDDEN_STATE_WITH_OFFLOAD",
            assumed="the tokens of the one clip are divided over the four chips",
        ),
        Run(
            "Wan2.2-14B before, tpu7x-64",
            wan,
            _training(16, "full"),
            "tpu7x:2x4x4",
            Layout(data=16, context=4),
            tflops=131.6,
            step_s=39.7,
            source="MaxDiffusion, pull request 470",
            assumed="a quarter of a clip a device and full recomputation, as in the "
            "recipe for 128 devices",
            miss="a bound knows the kernels of the table, not those of this first "
            "version: its successor on the same devices, 2.9 times as fast, replaced "
            "the backward kernel and took out a needless second forward of attention",
        ),
        Run(
            "Wan2.2-14B after, tpu7x-64",
            wan,
            _training(16, "attention"),
            "tpu7x:2x4x4",
            Layout(data=16, context=4),
            tflops=384.1,
            step_s=13.57,
            source="MaxDiffusion, pull request 487: attention not recomputed, Ulysses",
            assumed="a quarter of a clip a device",
        ),
        Run(
            "Flux-dev, v5p-8",
            flux_dev(),
            _training(8, "none"),
            "v5p:2x2x1",
            Layout(fsdp=4),
            tflops=252.0,
            step_s=1.769,
            source="MaxDiffusion, README: FSDP, batch 8, 1024 px; about 55 % of peak",
            assumed="all weights are trained and nothing is recomputed, for its config "
            "has no remat policy",
        ),
        Run(
            "DiT-XL/2 (fast-DiT), one A100",
            dit_xl_2(),
            _training(128, "full", attention="xla", ema=True),
            "a100:1x1",
            Layout(),
            tflops=76.5,
            step_s=1 / 0.84,
            source="chuanyangjin/fast-DiT, README: batch 128, checkpointing, AMP, "
            "latents prepared",
            assumed="scores are written to memory",
            miss="PyTorch without a compiler: norms, modulations, GELU, casts of the "
            "weights and gradients pass through memory one by one, which the planner "
            "counts as fused; and its products are credited with the share that the "
            "best kernel reaches on H100",
        ),
        Run(
            "dense 32B (MaxText), v5e-256",
            dense("dense 32B", 32e9, depth=32, width=8192, tokens=2048),
            _training(1024, "full"),
            "v5e:16x16",
            Layout(fsdp=256),
            tflops=132.0,
            step_s=None,
            source="MaxText, README: 66.9 % of peak, one slice; configs/v5e/32b.sh: "
            "4 sequences of 2,048 tokens a chip, full recomputation",
            assumed="linear maps only",
        ),
    ]


def validate() -> list[Comparison]:
    return [Comparison(run, run.predict()) for run in runs()]


def lines(found: Sequence[Comparison]) -> list[str]:
    met = sum(one.is_met for one in found)
    table = [
        f"{one.run.name:<30} {one.plan.step_s:9.3f} s {one.published_s:9.3f} s "
        f"{one.ratio:6.2f}   {one.tflops:7.1f} {one.run.tflops:7.1f}   "
        f"{'yes' if one.is_met else 'no'}"
        for one in found
    ]
    misses = [f"{one.run.name}: {one.run.miss}" for one in found if not one.is_met]
    return [
        f"{'':<30} {'predicted':>11} {'published':>11} {'ratio':>6}   TFLOP/s a device "
        f"  within {TOLERANCE:.0%}",
        *table,
        *misses,
        f"{met} of {len(found)} within {TOLERANCE:.0%} of the published step time",
    ]


def to_json(found: Sequence[Comparison]) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "tolerance": TOLERANCE,
        "num_met": sum(one.is_met for one in found),
        "runs": [
            {
                "name": one.run.name,
                "source": one.run.source,
                "assumed": one.run.assumed,
                "predicted_s": one.plan.step_s,
                "published_s": one.published_s,
                "ratio": one.ratio,
                "predicted_tflops": one.tflops,
                "published_tflops": one.run.tflops,
                "is_met": one.is_met,
                "miss": one.run.miss if not one.is_met else "",
                "plan": one.plan.to_json(),
            }
            for one in found
        ],
    }
