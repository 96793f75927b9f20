"""A config becomes the parts of a training: the one place that reads its sections."""

import copy
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, DTypeLike, Float
from ml_collections import ConfigDict as Config

from dit_jax import config as config_lib
from dit_jax.diffusion import options
from dit_jax.diffusion.losses import (
    BOUNDS,
    denoising_loss,
    require_finite,
    require_weighable,
    variational_loss,
)
from dit_jax.diffusion.posteriors import VARIANCES
from dit_jax.diffusion.predictions import PREDICTIONS
from dit_jax.diffusion.processes import Discrete, Process
from dit_jax.diffusion.times import DISTRIBUTIONS, TrainingTimes
from dit_jax.diffusion.variational import Chain
from dit_jax.diffusion.weightings import WEIGHTS
from dit_jax.errors import UserError, choose
from dit_jax.inference import denoiser as denoiser_lib
from dit_jax.inference.curves import RULES, Curve
from dit_jax.inference.denoiser import Denoiser
from dit_jax.inference.method import Method, arguments_of
from dit_jax.inference.run_folder import process_of
from dit_jax.models import presets
from dit_jax.models.choices import FRAMES
from dit_jax.parallel import sharding
from dit_jax.parallel.attention import check_heads
from dit_jax.parallel.constrain import OnMesh
from dit_jax.training import clipping, schedules
from dit_jax.training.objective import Objective
from dit_jax.training.optimizers import OPTIMIZERS, Settings
from dit_jax.training.state import TrainState, init_sharded
from dit_jax.training.step import TrainStep, make_train_step
from dit_jax.types import Batch, DenoiseFn

BATCHED = ("video",)  # the streams that a `Batch` has


@dataclasses.dataclass(frozen=True)
class LatentFacts:
    """What a training must know of its data. flip_sign: of a symmetric codec;
    text_shape: (tokens, dims) of an example's text, None where there is none."""

    latent_shape: tuple[int, int, int, int]
    num_classes: int
    flip_sign: tuple[int, ...] | None = None
    text_shape: tuple[int, int] | None = None


@dataclasses.dataclass(frozen=True)
class Assembly:
    """Everything but the data. Nothing is allocated until `init()` is called."""

    mesh: Mesh
    denoiser: Denoiser
    objective: Objective
    init: Callable[[], TrainState]
    abstract_state: TrainState
    abstract_batch: Batch
    train_step: TrainStep
    tokens_per_step: int
    flops_per_step: float


def resolve(config: Config) -> Config:
    """A locked copy whose `model.*` placeholders hold the preset's values."""
    config = copy.deepcopy(config)
    with config.unlocked():
        resolved = denoiser_lib.resolve(config_lib.section(config, "model"))
        config.model = Config(resolved)
    return config.lock()


def assemble(config: Config, facts: LatentFacts, mesh: Mesh) -> Assembly:
    """The parts of a resolved config; contradictions raise before compiling."""
    _check(config, facts, mesh)
    denoiser = denoiser_lib.build(
        config_lib.section(config, "model"),
        latent_shape=facts.latent_shape,
        num_classes=facts.num_classes,
        constrain=OnMesh(mesh, config.mesh.ring),
    )
    tx, schedule = _optimizer(config, denoiser.logical_axes)
    make = functools.partial(denoiser.init, config.seed)
    init, abstract_state = init_sharded(make, denoiser.logical_axes, tx, mesh)
    objective = _objective(config, facts, denoiser)
    step = make_train_step(
        denoiser.bind,
        objective,
        tx,
        schedule,
        seed=config.seed,
        microbatches=config.train.microbatches,
        ema_decay=config.optimizer.ema_decay,
        time_buckets=config.log.time_buckets,
        place_microbatches=functools.partial(_place_microbatches, mesh),
    )
    placed = jax.tree.map(lambda leaf: leaf.sharding, abstract_state)
    cost = presets.cost(
        config.model.preset,
        facts.latent_shape,
        num_classes=facts.num_classes,
        given_frames=config.train.given_frames,
        **_cost_overrides(config),
    )
    _check_activations(mesh, cost.num_tokens, config)
    return Assembly(
        mesh=mesh,
        denoiser=denoiser,
        objective=objective,
        init=init,
        abstract_state=abstract_state,
        abstract_batch=_abstract_batch(config.train.batch_size, facts, mesh),
        train_step=jax.jit(step, donate_argnums=0, out_shardings=(placed, None)),
        tokens_per_step=config.train.batch_size * cost.num_tokens,
        flops_per_step=float(config.train.batch_size * cost.train_flops),
    )


def _abstract_batch(size: int, facts: LatentFacts, mesh: Mesh) -> Batch:
    """Shapes and shardings of what the loader gives; nothing is allocated."""
    rows = sharding.batch_sharding(mesh)

    def of(shape: tuple[int, ...], dtype: DTypeLike) -> Any:
        return jax.ShapeDtypeStruct((size, *shape), dtype, sharding=rows)

    text: dict[str, Any] = {}
    if facts.text_shape is not None:
        length, dims = facts.text_shape
        text["text"] = of((length, dims), jnp.float32)
        text["text_mask"] = of((length,), jnp.int32)
        text["pooled"] = of((dims,), jnp.float32)
    return Batch(
        latents=of(facts.latent_shape, jnp.float32),
        example_id=of((), jnp.int32),
        label=of((), jnp.int32) if facts.num_classes else None,
        **text,
    )


def _check(config: Config, facts: LatentFacts, mesh: Mesh) -> None:
    train = config.train
    _check_sampling(config)
    sharding.check_batch(mesh, "train.batch_size", train.batch_size)
    if train.microbatches < 1 or train.batch_size % train.microbatches:
        raise UserError(
            f"train.microbatches is {train.microbatches}, which does not divide "
            f"train.batch_size={train.batch_size}; change one of them"
        )
    micro = train.batch_size // train.microbatches
    sharding.check_batch(mesh, "train.batch_size / train.microbatches", micro)
    if train.num_steps < 1:
        raise UserError(f"train.num_steps is {train.num_steps}; give at least 1")
    for key, period in {
        "log.every_steps": config.log.every_steps,
        "checkpoint.every_steps": config.checkpoint.every_steps,
        "validation.every_steps": config.validation.every_steps,
        "log.time_buckets": config.log.time_buckets,
        "checkpoint.keep": config.checkpoint.keep,
        "validation.num_examples": config.validation.num_examples,
    }.items():
        if period < 1:
            raise UserError(f"{key} is {period}; give at least 1")
    for key, value in {
        "optimizer.learning_rate": config.optimizer.learning_rate,
        "optimizer.eps": config.optimizer.eps,
    }.items():
        if not value > 0:
            raise UserError(f"{key} is {value}; give a number above 0")
    for key, share in {
        "train.label_dropout": train.label_dropout,
        "train.text_dropout": train.text_dropout,
        "optimizer.ema_decay": config.optimizer.ema_decay,
        "optimizer.b1": config.optimizer.b1,
        "optimizer.b2": config.optimizer.b2,
        "optimizer.momentum": config.optimizer.momentum,
    }.items():
        if not 0 <= share < 1:
            raise UserError(f"{key} is {share}; give a value in [0, 1)")
    _check_text(config.model, facts)
    if config.model.streams not in BATCHED:
        raise UserError(
            f"model.preset={config.model.preset} has model.streams="
            f"{config.model.streams}, which no dataset holds; it runs from Python "
            f"alone, so choose a preset of {' or '.join(BATCHED)}, such as "
            "joint-b/1x2x2"
        )
    _check_given_frames(train.given_frames, config.model, facts.latent_shape)
    if config.data.flip and facts.flip_sign is None:
        raise UserError(
            "data.flip is on, but the codec does not commute with flips; prepare the "
            "dataset with codec.symmetric=True or set data.flip=False"
        )


def _check_sampling(config: Config) -> None:
    """Refuses before training what `sample` would refuse after it."""
    sample = config_lib.section(config, "sample")
    process = process_of(config.diffusion)
    Method.of(process, config.diffusion.prediction, **arguments_of(sample))
    if sample["cache"] != "none":
        rule = options.read(RULES, sample["cache"], "sample.cache")
        rule(Curve.flat(sample["steps"]))


def _check_text(model: Config, facts: LatentFacts) -> None:
    """Refuses a model that reads text which the data do not have."""
    if model.text == "none":
        return
    reads = f"model.text={model.text} reads {model.text_length} tokens of "
    reads += f"{model.text_dims} dims"
    if facts.text_shape is None:
        raise UserError(
            f"{reads}, but the dataset has no text; prepare it with "
            "prepare.text=minilm or set model.text=none"
        )
    length, dims = facts.text_shape
    if (length, dims) != (model.text_length, model.text_dims):
        raise UserError(
            f"{reads}, but the dataset has {length} of {dims}; set model.text_length="
            f"{length} and model.text_dims={dims}, or prepare another dataset"
        )


def _check_given_frames(
    given: int, model: Config, latent_shape: tuple[int, int, int, int]
) -> None:
    """UserError unless the model is told frames exactly where some are given."""
    frames, step = latent_shape[0], model.patch[0]
    if not 0 <= given < frames or given % step:
        raise UserError(
            f"train.given_frames is {given}; give a number of latent frames below the "
            f"clip's {frames} that patches of {step} frames divide"
        )
    if bool(given) != FRAMES[model.frames].told:
        ways = " or ".join(name for name, way in FRAMES.items() if way.told)
        raise UserError(
            f"train.given_frames is {given} and model.frames is {model.frames}; set "
            f"both (model.frames to {ways}) or leave both at 0 and none"
        )


def _check_activations(mesh: Mesh, num_tokens: int, config: Config) -> None:
    """Refuses before tracing what the model's constraints would refuse within it."""
    for what, size, name in (
        ("tokens of a clip", num_tokens, "tokens"),
        ("model.num_heads", config.model.num_heads, "heads"),
    ):
        sharding.check_divides(mesh, what, (size,), (name,), sharding.ACTIVATION_RULES)
    check_heads(config.model.num_heads, mesh.shape, config.mesh.ring)


def _objective(config: Config, facts: LatentFacts, denoiser: Denoiser) -> Objective:
    diffusion = config.diffusion
    distribution = choose(DISTRIBUTIONS, diffusion.times, "diffusion.times")
    process = process_of(diffusion)
    times = TrainingTimes(
        distribution=distribution(
            diffusion.times_mean, diffusion.times_std, diffusion.times_mode
        ),
        shift=diffusion.times_shift,
        stratified=diffusion.times_stratified,
        num_steps=process.num_steps if isinstance(process, Discrete) else None,
    )
    return Objective(
        criterion=_criterion(config, process, times),
        times=times,
        hears=denoiser.hears,
        num_classes=facts.num_classes,
        label_dropout=config.train.label_dropout,
        text_dropout=config.train.text_dropout,
        flip_sign=facts.flip_sign if config.data.flip else None,
        given_frames=config.train.given_frames,
    )


def _criterion(
    config: Config, process: Process, times: TrainingTimes
) -> Callable[..., Any]:
    """The loss of `diffusion.*`; what it cannot be is told before anything compiles."""
    diffusion = config.diffusion
    for key in ("prediction", "loss"):
        choose(dict.fromkeys(PREDICTIONS), diffusion[key], f"diffusion.{key}")
    told: dict[str, Any] = {
        "prediction": diffusion.prediction,
        "loss_in": diffusion.loss,
        "weight": options.read(WEIGHTS, diffusion.weight, "diffusion.weight"),
    }
    bound = choose(BOUNDS | {"none": None}, diffusion.bound, "diffusion.bound")
    if bound is None or not bound.is_all:
        require_finite(process, ends=times.ends, **told)
    if bound is None:
        return functools.partial(denoising_loss, process=process, **told)
    if not isinstance(process, Discrete):
        raise UserError(
            f"diffusion.bound is {diffusion.bound}, a sum over the steps of a ddpm "
            f"process, and diffusion.process is {diffusion.process}; set the bound to "
            "none or choose a ddpm process"
        )
    require_weighable(diffusion.bound, told["weight"])
    variance = choose(VARIANCES, diffusion.variance, "diffusion.variance")
    is_learned = variance(Chain(process).grid).fixed is None
    if is_learned and not config.model.learn_sigma:
        raise UserError(
            f"diffusion.variance is {diffusion.variance}, which a network says in "
            "channels of its own; set model.learn_sigma=True, diffusion.variance to a "
            "fixed one, or diffusion.bound to none"
        )
    if not is_learned and not bound.is_all:
        raise UserError(
            f"diffusion.bound is {diffusion.bound}, which moves the variance alone, "
            f"and diffusion.variance is {diffusion.variance}; set the bound to none, "
            "or the variance to learned_range"
        )

    def criterion(denoise_fn: DenoiseFn, **draws: Any) -> Float[Array, " B"]:
        return variational_loss(
            denoise_fn,
            process,
            bound=diffusion.bound,
            variance=diffusion.variance,
            **told,
            **draws,
        ).loss

    return criterion


def _optimizer(
    config: Config, logical_axes: Any
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    settings = config.optimizer
    make = choose(OPTIMIZERS, settings.name, "optimizer.name")
    schedule = schedules.learning_rate(
        settings.schedule,
        peak=settings.learning_rate,
        num_steps=config.train.num_steps,
        warmup_steps=settings.warmup_steps,
        final_share=settings.final_share,
        decay_share=settings.decay_share,
    )
    clip = clipping.clipping(
        clip_norm=settings.clip_norm,
        block_clip_norm=settings.block_clip_norm,
        clip_from=settings.clip_from,
        logical_axes=logical_axes,
    )
    optimizer = make(
        Settings(
            schedule,
            logical_axes,
            b1=settings.b1,
            b2=settings.b2,
            eps=settings.eps,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )
    )
    return optax.chain(clip, optimizer), schedule


def _place_microbatches(mesh: Mesh, parts: Any) -> Any:
    rows = NamedSharding(mesh, PartitionSpec(None, *sharding.spec(("batch",))))
    return jax.lax.with_sharding_constraint(parts, rows)


def _cost_overrides(config: Config) -> dict[str, Any]:
    return {
        key: value
        for key, value in config_lib.section(config, "model").items()
        if key not in ("preset", "dtype")
    }
