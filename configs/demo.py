"""A real video diffusion model in minutes on a two-core laptop.

    make demo

Four clips that install with the demo (a cartoon, bicycles, a phone call, a band), cut
into shots that serve as classes, 16 frames of 64x64; a linear codec; a joint spacetime
transformer of 4 M parameters that predicts the clean latents.
"""

from configs import common


def get_config(argument: str = ""):
    del argument
    config = common.get_config()
    config.prepare.sources = (
        "packaged:bigbuckbunny",
        "packaged:bikes",
        "packaged:carphone",
        "packaged:band",
    )
    config.prepare.hop = 4  # whole latent frames: windows share their latents
    config.prepare.min_seconds = 1.5  # what is shorter has too few clips to learn
    config.prepare.validation = 0.2
    config.prepare.validation_hop = 1
    config.data.repeats = (1, 3, 1, 1)  # the bicycles move most and are few
    config.codec.channels = 96
    config.model.preset = "joint-tiny/2x2x2"
    config.model.remat = "none"  # small enough to keep every activation
    config.diffusion.prediction = "x0"
    config.diffusion.loss = "x0"
    config.diffusion.times_mean = 1.2  # where it is decided which clip it will be
    config.train.num_steps = 5400
    config.train.batch_size = 8
    config.optimizer.learning_rate = 1.5e-3
    config.optimizer.warmup_steps = 100
    config.optimizer.b2 = 0.95
    config.optimizer.ema_decay = 0.997
    config.log.every_steps = 100
    config.checkpoint.every_steps = 1000
    config.checkpoint.keep = 2
    config.validation.every_steps = 1000
    config.sample.guidance = 1.2
    config.sample.sampler = "ancestral"  # draws again what early steps got wrong
    config.sample.shift = 3.0
    config.sample.batch_size = 32
    return config
