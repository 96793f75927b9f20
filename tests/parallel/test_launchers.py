"""What an environment tells about a process, for every launcher of the table."""

import pytest

from dit_jax.parallel.launchers import LAUNCHERS, Place, detect, first_host

SLURM = {
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NODELIST": "gpu[03-06,09]",
    "SLURM_STEP_NUM_NODES": "5",
    "SLURM_STEP_NUM_TASKS": "5",
    "SLURM_NTASKS": "5",
    "SLURM_PROCID": "2",
    "SLURM_LOCALID": "0",
}
OPEN_MPI = {
    "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911",
    "OMPI_COMM_WORLD_SIZE": "8",
    "OMPI_COMM_WORLD_RANK": "5",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "4",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
}
GKE = {"TPU_WORKER_HOSTNAMES": "pod-0.svc,pod-1.svc", "TPU_WORKER_ID": "1"}
TWO_SLICES = GKE | {
    "MEGASCALE_NUM_SLICES": "2",
    "MEGASCALE_SLICE_ID": "1",
    "MEGASCALE_COORDINATOR_ADDRESS": "first-0.svc:8081",
}
KUBERNETES = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "3"}
TPU_VM = {"TPU_ML_PLATFORM": "JAX"}
# Another Open MPI, and the addresses of IPv6.
OPEN_MPI_5 = {k: v for k, v in OPEN_MPI.items() if not k.endswith("hnp_uri")}
OPEN_MPI_6 = OPEN_MPI | {
    "OMPI_MCA_orte_hnp_uri": "1314521088.0;tcp6://[fe80::b9b:5d,2620:10d::2]:43370"
}
CASES = {
    "Slurm": (SLURM, Place("gpu03:24711", 5, 2, None, "Slurm")),
    "Slurm, two tasks a node": (
        SLURM | {"SLURM_STEP_NUM_TASKS": "10", "SLURM_LOCALID": "1"},
        Place("gpu03:24711", 10, 2, (1,), "Slurm"),
    ),
    "Slurm that gave each task its GPU": (
        SLURM | {"SLURM_STEP_NUM_TASKS": "10", "CUDA_VISIBLE_DEVICES": "6"},
        Place("gpu03:24711", 10, 2, None, "Slurm"),
    ),
    "Slurm where each task sees all GPUs": (
        SLURM | {"SLURM_STEP_NUM_TASKS": "10", "CUDA_VISIBLE_DEVICES": "0,1"},
        Place("gpu03:24711", 10, 2, (0,), "Slurm"),
    ),
    "Open MPI": (OPEN_MPI, Place("10.96.0.1:23920", 8, 5, (1,), "Open MPI")),
    "Open MPI on IPv6": (
        OPEN_MPI_6 | {"OMPI_COMM_WORLD_LOCAL_SIZE": "1"},
        Place("[fe80::b9b:5d]:20928", 8, 5, None, "Open MPI"),
    ),
    "Open MPI 5": (OPEN_MPI_5, Place(None, 8, 5, (1,), "Open MPI")),
    "Open MPI in Slurm": (
        SLURM | OPEN_MPI,
        Place("10.96.0.1:23920", 8, 5, (1,), "Open MPI"),
    ),
    "GKE": (GKE, Place("pod-0.svc:20000", 2, 1, None, "GKE")),
    "GKE, two slices": (TWO_SLICES, Place("first-0.svc:20000", 4, 3, None, "GKE")),
    "GKE is Kubernetes": (
        GKE | KUBERNETES,
        Place("pod-0.svc:20000", 2, 1, None, "GKE"),
    ),
    "Kubernetes": (KUBERNETES, Place(None, None, 3, None, "Kubernetes")),
    "TPU VM": (TPU_VM, Place(None, None, None, None, "TPU VM")),
}
ALONE = {
    "nothing": {},
    "a step of one task in a job of many": SLURM | {"SLURM_STEP_NUM_TASKS": "1"},
    "a batch script": {k: v for k, v in SLURM.items() if "STEP" not in k},
    "mpirun of one": OPEN_MPI | {"OMPI_COMM_WORLD_SIZE": "1"},
    "a TPU host": {"TPU_WORKER_HOSTNAMES": "localhost", "TPU_WORKER_ID": "0"},
    "a pod of no job": {"KUBERNETES_SERVICE_HOST": "10.0.0.1"},
    "a TPU that has no metadata server": TPU_VM | {"TPU_SKIP_MDS_QUERY": "1"},
    "compiling for TPUs": {"TPU_WORKER_HOSTNAMES": "localhost"},
}


@pytest.mark.parametrize(("environment", "place"), CASES.values(), ids=CASES)
def test_a_launcher_tells_the_place_of_a_process(environment, place):
    assert detect(environment) == place


def test_every_launcher_is_tried():
    assert {place.launcher for _, place in CASES.values()} == {
        launcher.name for launcher in LAUNCHERS
    }


@pytest.mark.parametrize("environment", ALONE.values(), ids=ALONE)
def test_a_process_that_is_alone_joins_nobody(environment):
    assert detect(environment) is None


@pytest.mark.parametrize("launcher", LAUNCHERS, ids=lambda launcher: launcher.name)
def test_a_launcher_is_known_by_all_of_its_marks(launcher):
    environment = next(e for e, p in CASES.values() if p.launcher == launcher.name)
    for mark in launcher.marks:
        rest = {key: value for key, value in environment.items() if key != mark}
        assert detect(rest) is None


@pytest.mark.parametrize(
    ("names", "first"),
    [
        ("node001", "node001"),
        ("node001,host2", "node001"),
        ("node[001-015],host2", "node001"),
        ("node[001,007-015]", "node001"),
        ("rack[2-3]-node[07-08]", "rack2-node07"),
        ("a[1-2].cluster,b", "a1.cluster"),
    ],
)
def test_the_first_host_of_a_list(names, first):
    assert first_host(names) == first


def test_all_processes_agree_on_the_coordinator_and_none_on_the_number():
    places = [detect(SLURM | {"SLURM_PROCID": str(i)}) for i in range(5)]
    assert {place.coordinator_address for place in places} == {"gpu03:24711"}
    assert [place.process_id for place in places] == list(range(5))
