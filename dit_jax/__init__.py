"""Video diffusion transformers on TPU and GPU pods, and on a laptop."""

import sys

from dit_jax import host_memory

__version__ = "0.1.0"

if sys.argv[0] == "-m":  # so it is while Python looks for the module of `python -m`
    host_memory.keep_freed()
