"""Eight CPU devices, a compilation cache and strict ranks, before JAX starts.

JAX_PLATFORMS=cuda,cpu is for the tests that run on a GPU, and for no others.
"""

import os
import tempfile
from pathlib import Path

import jax

CACHE = Path(tempfile.gettempdir()) / f"dit_jax-tests-{os.getuid()}"

# in the environment too, for programs that tests start
os.environ["JAX_PLATFORMS"] = os.environ.get("JAX_PLATFORMS") or "cpu"
jax.config.update("jax_platforms", os.environ["JAX_PLATFORMS"])
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
