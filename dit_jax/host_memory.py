"""The memory of a host that is itself the device.

XLA's CPU backend takes the temporary memory of every step in one block and gives it
back after it. glibc hands a block of that size straight to the system, so that every
step waits while it is given fresh pages and these are cleared: 0.9 GB for DiT-S/2.
"""

import ctypes
import importlib.metadata
import importlib.util
import os
import sys

# of malloc.h
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
NEVER = -1


def keep_freed() -> bool:
    """Has glibc keep what is freed for the next step; True where it does from now on.

    To be called before anything starts a thread, as importing NumPy does: a thread has
    a heap of its own or shares one that is there. The package does it while it is
    imported for one of its programs, and in no other process. Nothing is changed where
    JAX is set or installed for accelerators, for there hundreds of threads would share
    the one heap, nor without glibc.
    """
    if sys.platform != "linux" or not is_cpu_the_device():
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: NEVER, M_ARENA_MAX: 1}
    return all([mallopt(name, value) for name, value in settings.items()])


def is_cpu_the_device() -> bool:
    """Whether JAX can choose nothing else. To ask it what it does would start it.

    With a compiler for TPUs or GPUs installed and none of them here, set JAX_PLATFORMS.
    """
    told = os.environ.get("JAX_PLATFORMS")
    if told:
        return told == "cpu"
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    return not plugins and importlib.util.find_spec("libtpu") is None
