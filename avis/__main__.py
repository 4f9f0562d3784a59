"""The console command `avis`, also `python -m avis`: it runs the module of avis/commands that is named."""

import difflib
import importlib
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from avis import __version__
from avis.command_names import COMMANDS, TOOLS

_USAGE = "usage: avis COMMAND …"
_WIDTH = 110
_NAMES = max(map(len, TOOLS)) + 4


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command.

    Args:
        arguments: the name of the command and its own arguments; by default those of this process.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    if not words:
        sys.stderr.write(_help())
        sys.exit(2)
    name, *others = words
    if name in ("-h", "--help"):
        sys.stdout.write(_help())
    elif name == "--version":
        sys.stdout.write(f"avis {__version__}\n")
    elif name in TOOLS:
        importlib.import_module(f"avis.commands.{_module(name)}").main(others)
    else:
        sys.stderr.write(f"error: {_explain(name)}\n")
        sys.exit(2)


def _module(name: str) -> str:
    return name.replace("-", "_")


def _explain(name: str) -> str:
    """What is wrong with a name, and which command may be meant: by its own name, or that of its tool."""
    known = {**{command: command for command in TOOLS}, **COMMANDS}
    close = difflib.get_close_matches(name.replace("_", "-"), known, n=1)
    close = close or difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {known[close[0]]!r}?" if close else "`avis --help` lists all"
    return f"avis has no command {name!r}; {hint}"


def _help() -> str:
    lines = [f"  {name:{_NAMES}}{_summary(name)}" for name in TOOLS]
    wrapped = [textwrap.fill(line, _WIDTH, subsequent_indent=" " * (_NAMES + 2)) for line in lines]
    about = "Find, segment and track every sounding object in a video."
    end = "`avis COMMAND --help` shows the options of a command, `avis --version` the version."
    return "\n".join([_USAGE, "", about, "", "commands:", *wrapped, "", end, ""])


def _summary(name: str) -> str:
    """The first line of a command's module, read from the file: to import it may take a second."""
    with Path(__file__).with_name("commands").joinpath(f"{_module(name)}.py").open(encoding="utf-8") as file:
        return file.readline().strip().strip('"')


if __name__ == "__main__":
    main()
