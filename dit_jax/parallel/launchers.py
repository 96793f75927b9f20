"""Who started this process, and as which one of how many: told by its environment.

A line of LAUNCHERS is one way of starting many processes as one run. Only variables
that a launcher sets for the processes of one program mark it: a shell inside of an
allocation is nobody's process.
"""

import dataclasses
import os
import re
from collections.abc import Callable, Mapping

Environment = Mapping[str, str]

FIRST_PORT, NUM_PORTS = 20000, 10000  # below the ports that systems hand out by chance


@dataclasses.dataclass(frozen=True)
class Place:
    """One process of a run; None is what is not known.

    coordinator_address: HOST:PORT of process 0. local_device_ids: the GPUs of the host
    that are for this process; None: all that it sees. launcher: its name, empty where
    flags say it all.
    """

    coordinator_address: str | None = None
    num_processes: int | None = None
    process_id: int | None = None
    local_device_ids: tuple[int, ...] | None = None
    launcher: str = ""

    @property
    def is_known(self) -> bool:
        """Whether nothing is left to ask a server of the launcher for."""
        told = (self.coordinator_address, self.num_processes, self.process_id)
        return None not in told


def _slurm(env: Environment) -> Place:
    """srun. The number of tasks is that of the step: its job may have more."""
    num_tasks = int(env["SLURM_STEP_NUM_TASKS"])
    host = first_host(env["SLURM_STEP_NODELIST"])
    number = int(env["SLURM_JOB_ID"]) + int(env["SLURM_STEP_ID"])
    return Place(
        f"{host}:{_port(number)}",
        num_tasks,
        int(env["SLURM_PROCID"]),
        _one_gpu_each(
            env,
            rank=int(env["SLURM_LOCALID"]),
            is_alone=num_tasks == int(env["SLURM_STEP_NUM_NODES"]),
        ),
    )


def _open_mpi(env: Environment) -> Place:
    """mpirun. Version 4 tells where it runs itself, which is where process 0 is."""
    address = None
    uri = re.match(
        r"(\d+)\..*?(?:tcp://([^,:;]+)|tcp6://\[([^,\]]+))",
        env.get("OMPI_MCA_orte_hnp_uri", ""),
    )
    if uri is not None:
        number, ip4, ip6 = uri.groups()
        port = _port(int(number) >> 12)  # the number of the job; the rest is of tasks
        address = f"{ip4}:{port}" if ip4 else f"[{ip6}]:{port}"
    return Place(
        address,
        int(env["OMPI_COMM_WORLD_SIZE"]),
        int(env["OMPI_COMM_WORLD_RANK"]),
        _one_gpu_each(
            env,
            rank=int(env["OMPI_COMM_WORLD_LOCAL_RANK"]),
            is_alone=int(env["OMPI_COMM_WORLD_LOCAL_SIZE"]) == 1,
        ),
    )


def _gke_tpu(env: Environment) -> Place:
    """Hosts of a slice by name, and slices by number, as Google's clusters set them."""
    hosts = env["TPU_WORKER_HOSTNAMES"].split(",")
    num_slices = int(env.get("MEGASCALE_NUM_SLICES") or 1)
    slice_id = int(env.get("MEGASCALE_SLICE_ID") or 0)
    address = env.get("MEGASCALE_COORDINATOR_ADDRESS") or hosts[0]
    return Place(
        f"{address.partition(':')[0]}:{_port(0)}",
        len(hosts) * num_slices,
        slice_id * len(hosts) + int(env["TPU_WORKER_ID"]),
    )


def _indexed_job(env: Environment) -> Place:
    """The rest is in the cluster's API, which JAX asks (`pip install kubernetes`)."""
    return Place(process_id=int(env["JOB_COMPLETION_INDEX"]))


def _tpu_vm(env: Environment) -> Place:
    """All is in the metadata server of the machine, which JAX asks."""
    del env
    return Place()


@dataclasses.dataclass(frozen=True)
class Launcher:
    """marks: variables that are all set where it started a process; unless: variables
    that tell otherwise."""

    name: str
    marks: tuple[str, ...]
    read: Callable[[Environment], Place]
    unless: tuple[str, ...] = ()


# The first that fits: mpirun may run within Slurm, and a TPU in Kubernetes.
LAUNCHERS = (
    Launcher(
        "Open MPI",
        (
            "OMPI_COMM_WORLD_SIZE",
            "OMPI_COMM_WORLD_RANK",
            "OMPI_COMM_WORLD_LOCAL_SIZE",
            "OMPI_COMM_WORLD_LOCAL_RANK",
        ),
        _open_mpi,
    ),
    Launcher(
        "Slurm",
        (
            "SLURM_JOB_ID",
            "SLURM_STEP_ID",
            "SLURM_STEP_NODELIST",
            "SLURM_STEP_NUM_NODES",
            "SLURM_STEP_NUM_TASKS",
            "SLURM_PROCID",
            "SLURM_LOCALID",
        ),
        _slurm,
    ),
    Launcher("GKE", ("TPU_WORKER_HOSTNAMES", "TPU_WORKER_ID"), _gke_tpu),
    Launcher(
        "Kubernetes", ("KUBERNETES_SERVICE_HOST", "JOB_COMPLETION_INDEX"), _indexed_job
    ),
    # JAX sets the first when it is imported where there are TPU chips.
    Launcher("TPU VM", ("TPU_ML_PLATFORM",), _tpu_vm, unless=("TPU_SKIP_MDS_QUERY",)),
)


def detect(env: Environment = os.environ) -> Place | None:
    """The place of this process among several; None where it is the only one."""
    for launcher in LAUNCHERS:
        if all(env.get(mark) for mark in launcher.marks) and not any(
            env.get(name) for name in launcher.unless
        ):
            place = dataclasses.replace(launcher.read(env), launcher=launcher.name)
            return None if place.num_processes == 1 else place
    return None


def first_host(names: str) -> str:
    """`node001` of Slurm's `node[001-015,020],other`."""
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])+", names)
    return re.sub(r"\[([^,\-\]]+)[^\]]*\]", r"\1", first[0] if first else names)


def _one_gpu_each(
    env: Environment, *, rank: int, is_alone: bool
) -> tuple[int, ...] | None:
    """Which GPUs of a host belong to the process of this rank on it.

    All to a process that has the host for itself. Of several each takes one, unless the
    launcher has given it one already or the user says which.
    """
    is_bound = len(env.get("CUDA_VISIBLE_DEVICES", "").split(",")) == 1 and env.get(
        "CUDA_VISIBLE_DEVICES"
    )
    if is_alone or is_bound or env.get("JAX_LOCAL_DEVICE_IDS"):
        return None
    return (rank,)


def _port(number: int) -> int:
    """The same for all processes of a run, another for another run on the same host."""
    return FIRST_PORT + number % NUM_PORTS
