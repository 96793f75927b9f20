"""Runs golden files of other implementations through our modules.

    python -m dit_jax.parity FILE... [--json]

Builds the system that each file names, loads its parameters under their own names, runs
its inputs and prints, per output, the largest error beside what is allowed. Exit code 1
when one is over, 2 for a kind of file that nothing here covers.
"""

import dataclasses
import json
import sys
from collections.abc import Sequence

from absl import flags

from dit_jax import files, program
from dit_jax.errors import DataError, UserError
from dit_jax.evaluation.parity import golden, runners

FLAGS = flags.FLAGS

flags.DEFINE_bool(
    "json", False, "One JSON object instead of lines.", allow_override=True
)

FAILED, UNCOVERED = 1, 2


def main(arguments: list[str]) -> None:
    paths = arguments
    if not paths:
        raise UserError("no file was given; name golden files, such as tests/golden/*")
    # what is no case stops before the work
    cases = {path: golden.read(files.absolute(path)) for path in paths}
    reports = {path: check(path, case) for path, case in cases.items()}
    if FLAGS.json:
        program.say(json.dumps(reports, indent=2))
    codes = {report["code"] for report in reports.values()}
    if codes != {0}:
        sys.exit(FAILED if FAILED in codes else UNCOVERED)


def check(path: str, case: golden.Case) -> dict:
    """One file: its differences and its exit code; printed unless --json."""
    run = runners.runner(case)
    if run is None:
        _say(f"{path}: kind {case.system!r} with {sorted(case.inputs)} is not covered")
        return {"code": UNCOVERED, "system": case.system, "differences": []}
    differences, unread, error = [], [], None
    try:
        differences = golden.compare(case, run(case))
        unread = case.unread
    except golden.Uncovered as missing:
        _say(f"{path}: {missing}")
        return {"code": UNCOVERED, "system": case.system, "differences": []}
    except (ValueError, TypeError, AttributeError) as misfit:
        # without parameters a case is its options, and what refuses them is ours
        if not case.params and not isinstance(misfit, DataError):
            options = ", ".join(f"{k} = {v!r}" for k, v in case.config.items())
            _say(f"{path}: not covered with the options {options} ({misfit})")
            return {"code": UNCOVERED, "system": case.system, "differences": []}
        if not isinstance(misfit, ValueError):
            raise
        error = str(misfit)  # of the case and the system that it names
    for line in _lines(path, differences, unread, error):
        _say(line)
    passed = not error and not unread and all(d.passed for d in differences)
    return {
        "code": 0 if passed else FAILED,
        "system": case.system,
        "differences": [dataclasses.asdict(d) for d in differences],
        "unread": unread,
        "error": error,
    }


def _lines(
    path: str,
    differences: Sequence[golden.Difference],
    unread: Sequence[str],
    error: str | None,
) -> list[str]:
    lines = [path]
    for d in differences:
        verdict = "ok" if d.passed else "OVER"
        lines.append(
            f"  {d.name}: max abs {d.absolute:.2e} (allowed {d.allowed:.2e}), "
            f"relative {d.relative:.2e}  {verdict}"
        )
    lines += [f"  never read: {', '.join(unread)}  OVER"] if unread else []
    return lines + ([f"  does not fit: {error}  OVER"] if error else [])


def _say(line: str) -> None:
    if not FLAGS.json:
        program.say(line)


if __name__ == "__main__":
    program.run(main)
