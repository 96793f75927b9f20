"""A plan as lines for people. GB and TB are powers of ten, as chips are sold."""

from collections.abc import Iterator, Mapping, Sequence

from dit_jax.planning import efficiency
from dit_jax.planning.plan import Plan
from dit_jax.planning.search import Remedy


def lines(plan: Plan, compiled: Mapping[str, float] | None = None) -> list[str]:
    """compiled: figures of `Plan.predictions` as a compiled program has them, which
    stand beside the predicted ones."""
    return [
        *_head(plan),
        *_parts(plan),
        *_memory(plan),
        *_collectives(plan),
        *_time(plan),
        *(_beside(plan, compiled) if compiled else ()),
    ]


def verdict(used: float, room: float) -> str:
    """used, room: bytes of a device."""
    if used <= room:
        return f"fits: {gb(used)} of {gb(room)} on each device ({used / room:.0%})"
    return (
        f"does not fit: {gb(used)} are needed on each device of {gb(room)}, "
        f"{gb(used - room)} too much"
    )


def remedy(plan: Plan, remedies: Sequence[Remedy]) -> str:
    """One sentence on what helps."""
    if not remedies:
        return (
            "no change of remat, microbatches, mesh or optimizer makes it fit; take "
            f"more devices than {plan.topology.name} has, or a smaller model"
        )
    return f"cheapest remedies: {'; '.join(map(str, remedies))}"


def ranking(plans: Sequence[Plan], num_found: int) -> list[str]:
    """The best of a search, a line each."""
    if not plans:
        return ["no mesh and no remat policy fit"]
    best = plans[0].step_s
    return [
        f"{num_found} combinations of mesh and remat fit; the cheapest:",
        *(
            f"  {plan.layout.describe():<36} remat {plan.training.remat:<10} "
            f"{plan.step_s:9.4g} s ({plan.step_s / best - 1:+.1%})  MFU "
            f"{plan.roofline.mfu:.1%}  {gb(plan.memory.total)}"
            for plan in plans
        ),
    ]


def gb(num_bytes: float) -> str:
    return f"{num_bytes / 1e9:.2f} GB"


def _head(plan: Plan) -> Iterator[str]:
    model, machine = plan.workload, plan.topology
    yield (
        f"plan of {model.name} on {machine.name}: {machine.num_devices} devices, "
        f"{plan.layout.describe()}"
    )
    yield f"  training  {plan.training.describe()}"
    yield (
        f"  model     {model.depth} layers of width {model.width}, {model.num_heads} "
        f"heads of {model.head_dim}, {model.tokens} tokens an example"
    )


def _parts(plan: Plan) -> Iterator[str]:
    model = plan.workload
    yield "  part                     parameters     forward GFLOP an example"
    params = model.params_by_part()
    for part in dict.fromkeys([*params, *model.flops]):
        held, flops = params.get(part, 0) / 1e6, model.flops.get(part, 0.0) / 1e9
        yield f"    {part:<20} {held:12.3f} M {flops:14.2f}"
    yield (
        f"    {'all':<20} {model.num_params / 1e6:12.3f} M "
        f"{model.forward_flops / 1e9:14.2f}"
    )
    each = plan.roofline
    yield (
        f"  step      {each.model_flops / 1e12:.4g} TFLOP a device of the model, "
        f"{each.hardware_flops / 1e12:.4g} with what is computed again"
    )


def _memory(plan: Plan) -> Iterator[str]:
    yield "  memory of a device"
    for kind, size in plan.memory.bytes.items():
        yield f"    {kind:<14} {gb(size):>12}   {plan.memory.formulas[kind]}"
    if plan.memory.host_bytes:
        yield f"    {'on the host':<14} {gb(plan.memory.host_bytes):>12}"
    yield f"    {'all':<14} {gb(plan.memory.total):>12}   of {gb(plan.memory.capacity)}"


def _collectives(plan: Plan) -> Iterator[str]:
    if not plan.collectives:
        yield "  no collectives"
        return
    yield "  collectives: kind, axis, bytes each, times a step, in the scan over layers"
    for one in sorted(plan.collectives, key=lambda one: -one.sent):
        yield (
            f"    {one.kind:<18} {one.axis:<20} {one.num_bytes / 1e6:10.4g} MB "
            f"x {one.count:<5} {'scan' if one.in_scan else '    '}  {one.what}"
        )


def _time(plan: Plan) -> Iterator[str]:
    found = plan.roofline
    yield (
        "  step = max(linear + max(attention, ring) + memory, ici, dcn, host) + "
        "exchanges"
    )
    for name, term in found.terms.items():
        if term.seconds:
            yield f"    {name:<10} {term.seconds:10.4g} s   {term.formula}"
    yield f"    kernels: {efficiency.of(plan.topology.chip).source}"
    busy = ", ".join(f"{name} {s:.3g} s" for name, s in found.busy.items() if s)
    yield f"    busy: {busy}"
    yield (
        f"  at best {plan.step_s:.4g} s a step, bound by {found.bound}: MFU "
        f"{found.mfu:.1%} (recomputation alone leaves {found.max_mfu:.1%}), "
        f"{plan.samples_per_s:.4g} examples/s, {plan.days:.3g} days for "
        f"{plan.num_samples:.4g} examples"
    )


def _beside(plan: Plan, compiled: Mapping[str, float]) -> Iterator[str]:
    yield "  quantity               predicted       compiled   compiled / predicted"
    for name, value in plan.predictions().items():
        if name in compiled:
            ratio = compiled[name] / value if value else float("inf")
            yield f"    {name:<18} {value:13.5g} {compiled[name]:14.5g} {ratio:9.3f}"
