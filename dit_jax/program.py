"""How every program starts and ends: shared flags, one error boundary, exit codes."""

import os
import sys
import traceback
from collections.abc import Callable, Sequence

from absl import flags, logging

from dit_jax import config as config_lib
from dit_jax import host_memory
from dit_jax.errors import INTERNAL, Preempted, UserError, exit_code

FLAGS = flags.FLAGS

flags.DEFINE_string(
    "config", None, "Config file, FILE.py[:ARG]; --config.key=value overrides a value."
)
flags.DEFINE_string("workdir", None, "Run folder: snapshot, checkpoints, metrics.")
flags.DEFINE_string("output", None, "Folder or file that results are written to.")
flags.DEFINE_integer("seed", None, "Seed; the config's or the run's when not given.")
flags.DEFINE_bool("debug", False, "Show the traceback of a user error.")
flags.DEFINE_string("coordinator_address", None, "HOST:PORT of process 0.")
flags.DEFINE_integer("num_processes", None, "How many processes run this program.")
flags.DEFINE_integer("process_id", None, "The index of this process, from 0.")

_overrides: dict[str, str] = {}
PATIENCE = "--xla_cpu_collective_call_terminate_timeout_seconds"


def run(main: Callable[[list[str]], None], argv: Sequence[str] | None = None) -> None:
    """Parses flags, joins the other hosts, runs `main(positional)`, and exits."""
    arguments = list(sys.argv if argv is None else argv)
    if {"--help", "-h", "--helpfull"} & set(arguments):
        _print_help()
        sys.exit(0)
    try:
        positional = _parse(arguments)
        _wait_for_late_devices()
        logging.use_absl_handler()
        logging.set_verbosity(logging.INFO if FLAGS.debug else logging.ERROR)
        _join_hosts()
        main(positional)
    except KeyboardInterrupt:
        _stop("interrupted", 130)
    except Exception as error:
        code = exit_code(error)
        if code == INTERNAL or (FLAGS.is_parsed() and FLAGS.debug):
            traceback.print_exc()
        _stop(_sentence(error), code)


def _wait_for_late_devices() -> None:
    """Gives the devices of a CPU ten minutes to meet, before JAX starts.

    XLA ends the process when one of them is 40 s late, as on a busy or sleeping laptop.
    """
    given = os.environ.get("XLA_FLAGS", "")
    if host_memory.is_cpu_the_device() and PATIENCE not in given:
        os.environ["XLA_FLAGS"] = f"{given} {PATIENCE}=600".strip()


def overrides() -> dict[str, str]:
    """The `--config.key=value` flags of this start, and --seed, by key."""
    seed = {} if FLAGS.seed is None else {"seed": str(FLAGS.seed)}
    return _overrides | seed


def config() -> config_lib.ConfigDict:
    """The locked config of --config with its overrides applied."""
    if FLAGS.config is None:
        raise UserError("no config is given; add --config=configs/NAME.py[:ARGUMENT]")
    return config_lib.load(FLAGS.config, overrides())


def require_flag(name: str) -> str:
    """The value of a flag that this program cannot do without."""
    value = FLAGS[name].value
    if value in (None, ""):
        raise UserError(f"--{name} is missing; give it: {FLAGS[name].help}")
    return value


def refuse_config() -> None:
    """For programs that read no config: none may be given and then be ignored."""
    if FLAGS.config is not None or _overrides:
        given = "--config" if FLAGS.config else f"--config.{next(iter(_overrides))}"
        raise UserError(f"{given} means nothing to this program; leave it out")


def refuse_words(arguments: Sequence[str]) -> None:
    """For programs that take flags only."""
    if arguments:
        raise UserError(
            f"{arguments[0]!r} is not understood; flags start with --, see --help"
        )


def say(*lines: str) -> None:
    """Plain lines for the user, from process 0 only."""
    if not FLAGS.is_parsed() or not FLAGS.process_id:
        for line in lines:
            print(line, flush=True)


def _parse(arguments: list[str]) -> list[str]:
    _overrides.clear()
    rest = [arguments[0]]
    pending = iter(arguments[1:])
    for argument in pending:
        if argument.startswith(("--config.", "-config.")):
            key, separator, text = argument.lstrip("-")[len("config.") :].partition("=")
            if not separator:
                text = next(pending, "")
            _overrides[key] = text
        else:
            rest.append(argument)
    try:
        return list(FLAGS(rest)[1:])
    except flags.Error as error:
        raise UserError(" ".join(str(error).split())) from error


def _join_hosts() -> None:
    """Joins what flags or a launcher name; from then on the flags hold what is so."""
    from dit_jax.parallel import hosts

    place = hosts.place(
        FLAGS.coordinator_address, FLAGS.num_processes, FLAGS.process_id
    )
    if place is None:
        return
    joined = hosts.join(place)
    FLAGS["num_processes"].value = joined.num_processes
    FLAGS["process_id"].value = joined.process_id
    if joined.launcher:
        text = f"joined as process {joined.process_id} of {joined.num_processes}"
        print(f"{text} ({joined.launcher})", flush=True)


def _sentence(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, Preempted):
        return text
    return f"error: {text}"


def _stop(text: str, code: int) -> None:
    process = FLAGS.process_id if FLAGS.is_parsed() else None
    prefix = f"[process {process}] " if process is not None else ""
    print(f"{prefix}{text}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    # At once: neither a peer in a collective nor a thread of a library may hold us.
    os._exit(code)


def _print_help() -> None:
    main_module = sys.modules["__main__"]
    print((main_module.__doc__ or "").strip(), end="\n\n")
    by_module = FLAGS.flags_by_module_dict()
    ours = [by_module.get(name, []) for name in (sys.argv[0], "__main__", __name__)]
    for flag in [flag for module in ours for flag in module]:
        print(f"  --{flag.name}: {flag.help}")
