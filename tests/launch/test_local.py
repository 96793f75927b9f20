"""Several processes on this machine: what they are told, and how they end together."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

LOCAL = Path(__file__).parents[2] / "launch" / "local.py"
INDEX = "import sys; index = int(sys.argv[-1].removeprefix('--process_id='))"


def _command(code, *words, num_processes=2):
    python = [sys.executable, "-c", f"{INDEX}; {code}", *words]
    return [sys.executable, str(LOCAL), f"--num_processes={num_processes}", "--"] + (
        python
    )


def _launch(command):
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_every_line_says_which_process_it_is_of():
    done = _launch(_command("print('I am', index)", num_processes=3))
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [f"[{i}] I am {i}" for i in range(3)]


def test_processes_are_told_one_address_and_how_many_they_are():
    done = _launch(_command("print(*sys.argv[1:-1])"))
    told = {line.partition(" ")[2] for line in done.stdout.splitlines()}
    assert len(told) == 1
    address, count = told.pop().split()
    assert address.startswith("--coordinator_address=127.0.0.1:")
    assert count == "--num_processes=2"


def test_only_the_first_separator_is_ours():
    done = _launch(_command("print(sys.argv[1:4])", "a", "--", "b", num_processes=1))
    assert done.stdout == "[0] ['a', '--', 'b']\n"


@pytest.mark.parametrize("code", [1, 65, 75])
def test_a_process_that_fails_stops_the_others_and_its_code_is_ours(code):
    start = time.monotonic()
    done = _launch(
        _command(f"import time; sys.exit({code}) if index else time.sleep(50)")
    )
    assert done.returncode == code
    assert time.monotonic() - start < 20


def test_a_process_that_a_signal_kills_gives_128_and_its_number():
    kill = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert _launch(_command(kill, num_processes=1)).returncode == 128 + 9


def test_a_signal_goes_to_all_processes():
    wait = (
        "import signal, time; "
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(75)); "
        "print('ready'); time.sleep(50)"
    )
    launcher = subprocess.Popen(_command(wait), stdout=subprocess.PIPE, text=True)
    ready = sorted(launcher.stdout.readline() for _ in range(2))
    assert ready == ["[0] ready\n", "[1] ready\n"]
    launcher.send_signal(signal.SIGTERM)
    assert launcher.wait(timeout=30) == 75
    launcher.stdout.close()


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "there is no command"),
        (["--num_processes=0", "--", "true"], "--num_processes is 0"),
        (["--num_processes=two", "--", "true"], "'two'"),
        (["--processes=2", "--", "true"], "--processes=2"),
        (["--", "no-such-program"], "'no-such-program' does not start"),
    ],
)
def test_a_mistake_is_one_sentence(arguments, words):
    done = _launch([sys.executable, str(LOCAL), *arguments])
    assert done.returncode == 64
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert words in done.stderr
