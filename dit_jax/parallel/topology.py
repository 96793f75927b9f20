"""TPU slices that are not here, as devices that programs can be compiled for.

Needs the TPU compiler (`make venv-tpu`) and no TPU. What comes of it is compiled, never
run: memory, FLOPs and collectives are known, speed is not.
"""

import os

import jax
from jax.experimental import topologies

from dit_jax.errors import UserError

# Without them libtpu waits for a metadata server and refuses a second process.
ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
}


def devices(name: str) -> list[jax.Device]:
    """Devices of a slice such as `v5e:4x4`, `v5p:4x4x4`, `v6e:16x16`."""
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    try:
        description = topologies.get_topology_desc(platform="tpu", topology_name=name)
    except Exception as error:
        raise UserError(
            f"topology {name!r} cannot be described ({str(error).splitlines()[0]}); "
            "give CHIP:AxB[xC] and install the TPU compiler with make venv-tpu"
        ) from error
    return list(description.devices)
