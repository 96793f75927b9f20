"""`dit-jax <verb> ...` is `python -m dit_jax.<verb> ...`.

The verbs are the program modules of this package: the top-level files that end in a
`__main__` guard. They are found by reading those files, so a list of them imports none.
"""

import ast
import runpy
import sys
from pathlib import Path

from dit_jax import host_memory
from dit_jax.errors import UserError, exit_code, nearest

PACKAGE = Path(__file__).parent
GUARD = 'if __name__ == "__main__":'


def main() -> None:
    """Runs the program that the first argument names."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview())
        return
    try:
        verb = find(arguments[0])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(exit_code(error))
    host_memory.keep_freed()
    sys.argv = sys.argv[:1] + arguments[1:]
    runpy.run_module(f"dit_jax.{verb}", run_name="__main__", alter_sys=True)


def verbs() -> dict[str, str]:
    """Each verb with the first line of its program's docstring."""
    return {
        file.stem: summary(source)
        for file in sorted(PACKAGE.glob("*.py"))
        if f"\n{GUARD}\n" in (source := file.read_text(encoding="utf-8"))
    }


def summary(source: str) -> str:
    docstring = ast.get_docstring(ast.parse(source)) or ""
    return docstring.partition("\n")[0]


def find(name: str) -> str:
    """The verb called `name`, or a UserError that names the nearest one."""
    known = verbs()
    verb = name.replace("-", "_")
    if verb not in known:
        raise UserError(
            f"{name!r} is not a verb of dit-jax{nearest(verb, known)}; "
            f"choose one of {', '.join(known)}"
        )
    return verb


def overview() -> str:
    known = verbs()
    width = max(map(len, known), default=0)
    lines = [f"  {verb:<{width}}  {line}" for verb, line in known.items()]
    head = "dit-jax VERB [--flag=value ...]; `dit-jax VERB --help` lists the flags."
    return "\n".join([head, "", *lines])
