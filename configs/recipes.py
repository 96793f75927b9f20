"""What several configs share; their parts, not a config.

The published trainings here descend from DiT's, which `dit` holds. They work on
latents of single frames, 8x8 pixels to 4 numbers, which came from an image autoencoder;
`frame_latents` gives the linear codec the same shape, so that models and costs are
those of the publications. Reconstruction, and hence scores, are not.
"""

from ml_collections import ConfigDict

from configs import common
from dit_jax import config as config_lib

SIZES = ("s", "b", "l", "xl")
PATCHES = ("2", "4", "8")


def of_preset(
    family: str,
    argument: str,
    *,
    default: str,
    sizes: tuple[str, ...] = SIZES,
    patches: tuple[str, ...] = PATCHES,
) -> ConfigDict:
    """The base with the preset `<family>-<argument>`, one of sizes x patches."""
    choices = tuple(f"{size}/{patch}" for size in sizes for patch in patches)
    name = config_lib.parse_argument(argument, default=default, choices=choices)
    config = common.get_config()
    config.model.preset = f"{family}-{name}"
    return config


def spacetime(family: str, argument: str) -> ConfigDict:
    """A model that sees space and time at once, trained as `common` says."""
    patches = ("1x2x2", "1x4x4", "2x2x2")
    config = of_preset(family, argument, default="b/1x2x2", patches=patches)
    config.model.remat = "full"
    return config


def dit(
    family: str,
    argument: str,
    *,
    default: str = "xl/2",
    sizes: tuple[str, ...] = SIZES,
    patches: tuple[str, ...] = PATCHES,
) -> ConfigDict:
    """DiT's training: eps and a learned variance of DDPM, AdamW at a constant rate.

    facebookresearch/DiT@ed81ce2, train.py: AdamW 1e-4 with its default betas, batch
    256, EMA 0.9999, a tenth of the labels dropped, uniform times; 250 steps to sample.
    """
    config = of_preset(family, argument, default=default, sizes=sizes, patches=patches)
    noise_prediction(config)
    config.diffusion.bound = "mse"
    config.diffusion.variance = "learned_range"
    constant_rate(config, warmup_steps=0)
    config.optimizer.b2 = 0.999
    config.sample.sampler = "ddpm:variance=learned_range"
    config.sample.grid = "respaced"
    config.sample.steps = 250
    return config


def noise_prediction(config: ConfigDict) -> None:
    """eps by plain squared error, every step of DDPM's linear betas alike."""
    config.diffusion.process = "ddpm_linear"
    config.diffusion.prediction = "eps"
    uniform_times(config)


def uniform_times(config: ConfigDict) -> None:
    """The error is measured in what is predicted, at independent uniform times."""
    config.diffusion.loss = config.diffusion.prediction
    config.diffusion.times = "uniform"
    config.diffusion.times_stratified = False


def constant_rate(config: ConfigDict, *, warmup_steps: int) -> None:
    """No decay of the learning rate and no clipping of the gradient."""
    config.optimizer.warmup_steps = warmup_steps
    config.optimizer.final_share = 1.0
    config.optimizer.clip_norm = 0.0


def frame_latents(
    config: ConfigDict, *, side: int, num_frames: int, stride: int = 1
) -> None:
    """Clips of side x side pixels, side by side in time; every frame encoded apart."""
    config.prepare.num_frames = num_frames
    config.prepare.stride = stride
    config.prepare.hop = num_frames * stride
    config.prepare.height = config.prepare.width = side
    config.codec.block = (1, 8, 8)
    config.codec.channels = 4
    config.codec.scale_power = 1.0  # every channel of unit variance


def labelled_images(config: ConfigDict, *, side: int) -> None:
    """Clips of one frame, of the class that their folder names."""
    frame_latents(config, side=side, num_frames=1)
    config.prepare.label = "folder"


def flips(config: ConfigDict) -> None:
    """Half of the examples are mirrored, which the codec must allow."""
    config.codec.symmetric = True
    config.data.flip = True


def vdt(argument: str, *, default: str) -> ConfigDict:
    """DiT's training for VDT, of which no script was released; 400,000 steps are ours.

    All clips are of one class, as in the reference, and a tenth of the times of none.
    """
    config = dit("vdt", argument, default=default, sizes=("s", "l"), patches=("2",))
    config.prepare.label = "one"
    config.train.num_steps = 400_000
    return config


def latte(argument: str, *, clip_from: int) -> ConfigDict:
    """Latte's training (Ma et al. 2024; Vchitect/Latte@b27c24a): DiT's, on 16 frames.

    1 M steps of 5 clips on every device (their number is not stated; `batch_size` is
    40 here, 8 of them). From step `clip_from` on the gradient is clipped.
    """
    config = dit("latte", argument)
    frame_latents(config, side=256, num_frames=16, stride=3)
    config.train.num_steps = 1_000_000
    config.train.batch_size = 40
    config.optimizer.clip_norm = 0.1
    config.optimizer.clip_from = clip_from
    return config


def unconditional(config: ConfigDict) -> None:
    """Neither the data nor the model have labels."""
    config.prepare.label = "none"
    config.model.labels = False


def pod(
    size: str, *, latents: tuple[int, int, int, int], context: int, batch_size: int
) -> ConfigDict:
    """A joint spacetime model for hundreds of chips: flow matching, AdamW, WSD.

    latents: (T, H, W, C) that `plan` counts with; context: devices that share a clip.
    The learning rate is that of DiT, b2 and clipping those of large runs; none of them
    has been tuned here.
    """
    config = common.get_config()
    config.model.preset = f"joint-{size}/1x2x2"
    config.model.remat = "attention"
    config.plan.latent_shape = latents
    config.mesh.context = context
    config.train.batch_size = batch_size
    config.optimizer.schedule = "wsd"
    config.optimizer.b2 = 0.95
    config.optimizer.weight_decay = 0.01
    return config


def with_text(config: ConfigDict) -> None:
    """Text by cross-attention, paid for by a narrower MLP, as in Wan 2.1."""
    config.model.text = "cross_attention"
    config.model.mlp_ratio = 2.7
    config.model.labels = False
