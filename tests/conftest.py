"""Eight CPU devices, a compilation cache and strict ranks, before JAX starts."""

import os
import tempfile
from pathlib import Path

import jax

CACHE = Path(tempfile.gettempdir()) / f"dit_jax-tests-{os.getuid()}"

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
