"""What the GPU compiler must know of a GPU that is not here.

The fields are those of XLA's `GpuTargetConfigProto`. Numbers of one multiprocessor: the
CUDA programming guide's table for its compute capability; their count, the L2 cache and
the clock: the GPU's data sheet; memory and its bandwidth: `chips`.
"""

from dit_jax.parallel.chips import CHIPS, Chip

# H100 and H200 (SXM) are the same processor, GH100, beside different memory. CUDA and
# cuDNN are those that jax-cuda12-plugin is built with.
GH100 = """
platform_name: "CUDA"
runtime_version {{ major: 12 minor: 9 patch: 0 }}
dnn_version_info {{ major: 9 minor: 8 patch: 0 }}
device_description_str: "{name}"
gpu_device_info {{
  cuda_compute_capability {{ major: 9 minor: 0 }}
  core_count: 132
  fpus_per_core: 128
  clock_rate_ghz: 1.98
  l2_cache_size: 52428800
  device_memory_size: {memory}
  memory_bandwidth: {bandwidth}
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  registers_per_block_limit: 65536
  registers_per_core_limit: 65536
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
}}
"""
PROCESSORS = {"h100": GH100, "h200": GH100}


def _target(chip: Chip) -> str:
    return PROCESSORS[chip.name].format(
        name=chip.device_kinds[0],
        memory=int(chip.hbm_bytes),
        bandwidth=int(chip.hbm_bytes_per_s),
    )


# Text protos, by the name of the chip.
TARGETS = {name: _target(CHIPS[name]) for name in PROCESSORS}
