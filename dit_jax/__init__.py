"""Video diffusion transformers on TPU and GPU pods, and on a laptop."""

import sys

__version__ = "0.1.0"

# sys.argv[0] is "-m" while Python looks for the module that `python -m` names
if sys.argv[:1] == ["-m"] and any(s.startswith("dit_jax.") for s in sys.orig_argv):
    from dit_jax import host_memory

    host_memory.keep_freed()
