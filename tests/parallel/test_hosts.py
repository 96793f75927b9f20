"""How a process finds its place by flags and launcher, and what it asks JAX for."""

import jax
import pytest

from dit_jax.errors import UserError
from dit_jax.parallel import hosts, launchers
from dit_jax.parallel.launchers import Place

DETECTED = Place("node1:20007", 8, 3, (1,), "Slurm")
FLAGS = ("10.0.0.2:8476", 2, 1)


@pytest.fixture(autouse=True)
def collectives():
    """Joining chooses another kind of them."""
    before = jax.config.jax_cpu_collectives_implementation
    yield
    jax.config.update("jax_cpu_collectives_implementation", before)


class Joining:
    """In place of `jax.distributed.initialize`."""

    def __init__(self, error=None):
        self.error = error

    def __call__(self, *place, **settings):
        self.place, self.settings = place, settings
        if self.error is not None:
            raise self.error


@pytest.fixture
def launched(monkeypatch):
    """A process that Slurm started, or whatever `launched(place)` says."""

    def launch(place):
        monkeypatch.setattr(launchers, "detect", lambda: place)

    launch(DETECTED)
    return launch


def test_without_flags_the_launcher_tells(launched):
    assert hosts.place(None, None, None) == DETECTED


def test_three_flags_win_over_a_launcher(launched):
    assert hosts.place(*FLAGS) == Place(*FLAGS)


def test_one_flag_wins_over_what_a_launcher_says_of_it(launched):
    found = hosts.place("other:1234", None, None)
    assert found == Place("other:1234", 8, 3, (1,), "Slurm")


def test_a_flag_of_one_process_turns_detection_off(launched):
    assert hosts.place(None, 1, None) is None


def test_neither_flags_nor_launcher_is_a_process_alone(launched):
    launched(None)
    assert hosts.place(None, None, None) is None


@pytest.mark.parametrize("flags", [(None, 2, None), ("h:1", None, 0), (None, 1, 0)])
def test_some_flags_without_a_launcher_are_refused(launched, flags):
    launched(None)
    with pytest.raises(UserError, match="no launcher says what --.*, or none of them"):
        hosts.place(*flags)


def test_a_known_place_is_joined_as_it_is():
    joining = Joining()
    assert hosts.join(DETECTED, joining) == DETECTED
    assert joining.place == ("node1:20007", 8, 3)
    assert joining.settings["local_device_ids"] == (1,)
    # Or JAX would detect Slurm too and show a process one GPU of its node.
    assert joining.settings["cluster_detection_method"] == "deactivate"


def test_a_process_with_a_host_for_itself_sees_all_of_its_devices():
    joining = Joining()
    hosts.join(Place(*FLAGS), joining)
    assert "local_device_ids" not in joining.settings
    assert joining.settings["cluster_detection_method"] == "deactivate"


def test_what_a_launcher_does_not_tell_jax_finds_out():
    joining = Joining()
    found = hosts.join(Place(process_id=0, launcher="Kubernetes"), joining)
    assert joining.place == (None, None, 0)
    assert "cluster_detection_method" not in joining.settings
    assert (found.num_processes, found.process_id) == (1, 0)  # of this very process


def test_what_nobody_tells_is_one_sentence_with_the_flags():
    joining = Joining(ValueError("coordinator_address should be defined.\nmore"))
    words = "Open MPI started .* defined.*give --coordinator_address.*--num_processes=1"
    with pytest.raises(UserError, match=words) as error:
        hosts.join(Place(None, 8, 5, None, "Open MPI"), joining)
    assert "\n" not in str(error.value)


def test_a_coordinator_that_does_not_answer_is_a_failure_of_the_network():
    with pytest.raises(OSError, match="process 1 could not join 10.0.0.2:8476 within"):
        hosts.join(Place(*FLAGS), Joining(RuntimeError("DEADLINE_EXCEEDED")))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:abc",
        "127.0.0.1:0",
        "127.0.0.1:-1",
        "127.0.0.1:65536",
        "127.0.0.1:\u0663",
        ":8476",
        "",
    ],
)
def test_an_address_that_is_none_is_refused_before_joining(address):
    with pytest.raises(UserError, match="give HOST:PORT of process 0"):
        hosts.join(Place(address, 2, 0), Joining(AssertionError("joined")))


@pytest.mark.parametrize("process_id", [-1, 2])
def test_a_number_beyond_the_others_is_refused_before_joining(process_id):
    with pytest.raises(UserError, match="--num_processes=2 allows 0 to 1"):
        hosts.join(Place("h:1", 2, process_id), Joining(AssertionError("joined")))


@pytest.mark.parametrize("address", ["localhost:1", "10.0.0.2:65535", "[::1]:8476"])
def test_an_address_is_a_host_and_a_port(address):
    hosts.require_address(address)
