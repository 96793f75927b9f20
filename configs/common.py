"""The complete base of every config: each key, its meaning and its default.

An experiment is `common.get_config()` plus the few lines that differ. Every key can be
set on the command line: `--config.train.num_steps=1000`. A placeholder is None until
somebody sets it; in `model.*` None means "the preset's value".
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder


def get_config(argument: str = "") -> ConfigDict:
    del argument
    config = ConfigDict()
    config.seed = 0  # noise, times, dropout, data order, initial weights

    # What `prepare` turns into a latent dataset.
    config.prepare = ConfigDict()
    config.prepare.sources = (
        "packaged:bigbuckbunny",
    )  # files, folders, packaged clips
    config.prepare.exclude = ()  # sources the codec is not fitted on
    config.prepare.num_frames = 16
    config.prepare.stride = 1  # source frames between the frames of a clip
    config.prepare.hop = 4  # source frames between the starts of clips
    config.prepare.height = 64
    config.prepare.width = 64
    config.prepare.validation = 0.15  # the last share of every shot's time
    config.prepare.validation_hop = placeholder(int)  # hop of validation; None: hop
    config.prepare.split_cuts = True  # clips never cross a cut
    config.prepare.min_seconds = 0.0  # shorter shots are left out
    config.prepare.label = "shot"  # shot | source | folder | one | none
    config.prepare.store = "array_record"  # array_record | zarr (for buckets)
    config.prepare.records_per_shard = 1024
    config.prepare.latent_dtype = "float32"  # float32 | bfloat16
    config.prepare.text = "none"  # none | minilm: encodes VIDEO.txt beside a video
    config.prepare.text_length = 64  # tokens kept of a caption

    # Pixels <-> latents.
    config.codec = ConfigDict()
    config.codec.path = placeholder(str)  # a fitted codec; None fits one
    config.codec.block = (4, 8, 8)  # frames, height, width of a block
    config.codec.channels = 48
    config.codec.symmetric = False  # commutes with horizontal flips
    config.codec.scale_power = 0.5  # latents are divided by std ** scale_power

    # The text encoder of `prepare` and `sample`.
    config.text = ConfigDict()
    config.text.path = placeholder(str)  # folder of its weights; None: the installed

    # What `train` reads.
    config.data = ConfigDict()
    config.data.path = placeholder(str)  # a latent dataset
    config.data.repeats = ()  # visits an epoch pays each source; () is one each
    config.data.flip = False  # horizontal flips; needs a symmetric codec
    config.data.num_threads = 4
    config.data.prefetch = 8  # batches

    # The denoiser. `preset` names the parts; a field that is set overrides its value.
    config.model = ConfigDict()
    config.model.preset = "joint-b/1x2x2"
    config.model.patch = placeholder(tuple)  # (pt, ph, pw)
    config.model.width = placeholder(int)
    config.model.depth = placeholder(int)
    config.model.num_heads = placeholder(int)
    config.model.mlp_ratio = placeholder(float)
    # How conditioning enters: adaln_zero | adaln | adaln_single | cross_attention |
    # in_context.
    config.model.conditioning = placeholder(str)
    # What a token attends to: joint | spatial | spatial_temporal | temporal_spatial |
    # interleaved | windows | multi_resolution | vdt | vdt_spatial_first.
    config.model.mixing = placeholder(str)
    config.model.window = placeholder(tuple)  # (t, h, w) tokens, of windows
    config.model.levels = placeholder(int)  # of multi_resolution
    config.model.stack = placeholder(str)  # straight | long_skips
    config.model.text = placeholder(str)  # none | cross_attention | tokens | pooled
    config.model.text_dims = placeholder(int)  # width of the text encoder
    config.model.text_length = placeholder(int)  # tokens of a text
    # How given first frames are told: none | concat | cross_attention | pooled.
    config.model.frames = placeholder(str)
    config.model.streams = placeholder(str)  # video | image_text (network only)
    config.model.clip_dims = placeholder(int)  # of image_text
    config.model.data_type = placeholder(bool)  # of image_text
    config.model.norm = placeholder(str)  # plain | affine | affine_1e-5
    config.model.block = placeholder(str)  # pre_norm | post_norm
    config.model.qkv_bias = placeholder(bool)
    config.model.gelu = placeholder(str)  # tanh | exact
    config.model.qk_norm = placeholder(str)  # none | rms | layer
    config.model.qk_norm_width = placeholder(str)  # head | model
    config.model.rotary = placeholder(bool)
    config.model.rope_split = placeholder(tuple)  # head widths for t, h, w
    config.model.rope_theta = placeholder(float)
    # Added to the patches: none | sincos_3d | sincos_2d | sincos_2d_and_time | learned.
    config.model.positions = placeholder(str)
    config.model.position_scale = placeholder(float)
    # What time becomes before its sinusoids: continuous | steps | steps_from_1 |
    # up_to_999 | to_data | as_given.
    config.model.time = placeholder(str)
    config.model.time_mlp = placeholder(str)  # sinusoids_256 | sinusoids_width | none
    config.model.labels = placeholder(bool)
    config.model.label_scale = placeholder(float)  # of the label table at start
    config.model.temporal_zero_init = placeholder(bool)  # of vdt's extra linear map
    config.model.init = placeholder(str)  # xavier | truncated
    config.model.zero_init_head = placeholder(bool)
    config.model.final_conv = placeholder(bool)
    config.model.learn_sigma = placeholder(bool)  # twice the channels out
    # auto: splash on TPUs, cudnn on GPUs; else xla for short clips, chunked for long.
    config.model.attention = placeholder(str)  # auto | xla | chunked | splash | cudnn
    # What a layer keeps for its backward pass: none (everything) | full (its input) |
    # attention (and the attention's output) | offload (the same, on the host).
    config.model.remat = placeholder(str)
    config.model.dtype = "auto"  # auto: bfloat16 on accelerators, float32 on CPU

    # The noise process, what the model predicts, and where the error is measured.
    config.diffusion = ConfigDict()
    # rectified_flow | variance_preserving:beta_min=0.1,beta_max=20.0 | trigonometric |
    # ddpm_linear:num_steps=1000,first=1e-4,last=0.02 | ddpm_scaled_linear |
    # ddpm_cosine.
    config.diffusion.process = "rectified_flow"
    config.diffusion.zero_terminal_snr = False  # of ddpm: no data left at the end
    config.diffusion.snr_shift = 1.0  # of ddpm: its SNR is divided by this
    config.diffusion.prediction = "velocity"  # eps | x0 | v | velocity | score
    config.diffusion.loss = "velocity"  # the target of the squared error
    # Of the squared error: none | min_snr:gamma=5 | truncated_snr | p2 |
    # sigmoid:bias=0 | velocity | likelihood.
    config.diffusion.weight = "none"
    # The variational bound, of ddpm: none | mse and rescaled_mse (beside the squared
    # error, for the variance alone) | kl and rescaled_kl (all of the loss).
    config.diffusion.bound = "none"
    # What the bound is of: fixed_small | fixed_large | learned | learned_range.
    config.diffusion.variance = "learned_range"
    config.diffusion.times = "logit_normal"  # uniform | logit_normal | mode
    config.diffusion.times_mean = 0.0  # of logit(t): above 0 is towards noise
    config.diffusion.times_std = 1.0
    config.diffusion.times_mode = 1.29  # of mode: how much the middle is favoured
    config.diffusion.times_shift = 1.0  # t' = s t / (1 + (s - 1) t)
    config.diffusion.times_stratified = True  # spread evenly over the batch

    config.train = ConfigDict()
    config.train.num_steps = 100_000
    config.train.batch_size = 256  # global: over all hosts and devices
    config.train.microbatches = 1  # gradient accumulation
    config.train.label_dropout = 0.1  # share of examples that see the null label
    config.train.text_dropout = 0.1  # share of examples that see no text
    config.train.given_frames = 0  # first latent frames of a clip that are given
    config.train.init_from = placeholder(str)  # RUN[@STEP]: start from its weights
    config.train.init_weights = "ema"  # ema | params of that run
    config.train.init_allow = ()  # name patterns that may differ from that run

    config.optimizer = ConfigDict()
    config.optimizer.name = "adamw"  # adamw | adafactor | lion | muon
    config.optimizer.learning_rate = 1e-4  # adafactor: relative, try 1e-2
    config.optimizer.schedule = "cosine"  # constant | cosine | wsd
    config.optimizer.warmup_steps = 1000
    config.optimizer.final_share = 0.0  # of the peak, where cosine and wsd end
    config.optimizer.decay_share = 0.2  # of all steps, the last, over which wsd falls
    config.optimizer.b1 = 0.9  # adamw, lion, and muon outside of the layers' kernels
    config.optimizer.b2 = 0.99  # as b1
    config.optimizer.eps = 1e-8  # adamw, and muon outside of the layers' kernels
    config.optimizer.momentum = 0.95  # muon, of the layers' kernels
    config.optimizer.weight_decay = 0.0  # of kernels, times the learning rate
    config.optimizer.clip_norm = 1.0  # of the global gradient; 0.0 is off
    config.optimizer.block_clip_norm = 0.0  # of each layer, before clip_norm; 0.0: off
    config.optimizer.clip_from = 0  # steps before clipping begins
    config.optimizer.ema_decay = 0.9999

    # Devices: sizes of the mesh axes in a slice (TPU) or on hosts that fast links join;
    # one of them may be -1 (what is left).
    config.mesh = ConfigDict()
    config.mesh.data = 1
    config.mesh.fsdp = -1
    config.mesh.context = 1  # tokens of one clip over several devices
    config.mesh.ring = 1  # of context, a ring; the rest exchanges heads (Ulysses)
    config.mesh.tensor = 1
    config.mesh.dcn_data = 1  # slices that data runs over; 2 slices: 2
    config.mesh.dcn_fsdp = 1  # slices that fsdp runs over, besides
    config.mesh.devices = placeholder(int)  # how many there must be; None: any number

    config.checkpoint = ConfigDict()
    config.checkpoint.every_steps = 1000
    config.checkpoint.keep = 3  # newest ones

    config.log = ConfigDict()
    config.log.every_steps = 50
    config.log.time_buckets = 4  # the loss is also logged by quarter of t
    config.log.tensorboard = True

    config.validation = ConfigDict()
    config.validation.every_steps = 1000
    config.validation.num_examples = 256  # at most; fixed examples, noise and times
    config.validation.batch_size = 32

    # What `plan` must know of the data; a manifest is read where data.path is set.
    config.plan = ConfigDict()
    config.plan.latent_shape = placeholder(tuple)  # (T, H, W, C) of a clip's latents
    config.plan.num_classes = 0  # 0: no labels

    # Defaults of `sample`.
    config.sample = ConfigDict()
    # A row of docs/diffusion.md's table, with its options: `ddim:eta=0.5`.
    config.sample.sampler = "euler"
    # uniform | karras | exponential | beta; of ddpm also linspace | leading | trailing
    # | respaced, in sections too: respaced:sections=100+100+50.
    config.sample.grid = "uniform"
    config.sample.steps = 50
    config.sample.guidance = 1.0  # uncond + guidance * (cond - uncond); 1.0 is off
    # constant | interval:low=0.4,high=1.0 | cosine | oscillating
    config.sample.guidance_schedule = "constant"
    # none | rescaled:phi=0.7 | renormed:over=channel
    config.sample.guidance_restraint = "none"
    config.sample.guidance_channels = placeholder(int)  # the first ones; None: all
    config.sample.shift = 1.0  # of the time grid, as diffusion.times_shift
    # Where sampling starts and ends. None: at 1 and 0, noise and clean data, or at
    # 0.999 and 0.001 where there is nothing to go by, as for eps on flows.
    config.sample.t_max = placeholder(float)
    config.sample.t_min = placeholder(float)
    config.sample.clip = "none"  # of every x0: none | clipped:limit=1.0 | thresholded
    # Calls that are spared: none | mag:threshold=0.06,longest=2 | tea:threshold=0.15.
    config.sample.cache = "none"
    config.sample.batch_size = 16
    return config.lock()
