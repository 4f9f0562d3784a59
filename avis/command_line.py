"""What command lines share: options, and how they end on bad input. Needs neither torch nor Detectron2."""

import argparse
import ast
import logging
import math
import os
import re
import signal
import sys
import sysconfig
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from avis.command_names import as_typed, program_name

logger = logging.getLogger(__name__)

# Signals that ask a program to end: of job schedulers and `kill`, of a terminal that is closed, and Ctrl-C.
ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
# How Python takes them unless it is told otherwise.
_PYTHONS_OWN = (signal.SIG_DFL, signal.default_int_handler)

# What torch makes of an error in a loader's worker: the traceback there, whose last frame is where the error
# was raised, and at its end the message.
WORKER_ERROR = re.compile(
    r'Caught \w+ in DataLoader worker process.*\n  File "(?P<file>[^"\n]+)", line \d+, in [^\n]+\n'
    r" +(?P<line>[^\n]*)\n.*?^[\w.]+: (?P<message>.*)$",
    re.DOTALL | re.MULTILINE,
)
# Installed packages whose errors are about what the user gives them: config keys, names of parts.
ABOUT_INPUT = {"avis", "detectron2", "fvcore", "iopath"}
STANDARD_LIBRARY = Path(sysconfig.get_paths()["stdlib"])

# Noted as soon as can be: what has started this process may end while torch is imported, which takes seconds.
_parent = os.getppid()


def parent_at_start() -> int:
    """The number of the process that has started this one; where it has ended, os.getppid gives another."""
    return _parent


def _note_parent() -> None:
    global _parent
    _parent = os.getppid()


os.register_at_fork(after_in_child=_note_parent)


@contextmanager
def exit_on_bad_input() -> Iterator[None]:
    """End the program with one line on stderr and exit code 2 on an error about its input.

    That is one which this program raises in words of its own, or the system over a file. An error that comes
    out of an expression, or of a library, is a mistake of the program and keeps its traceback.

    Once `avis.engine.startup` has opened the log, the traceback goes there. Where the program is ended by
    Ctrl-C, SIGTERM or SIGHUP, it first removes what it has half written. Its threads sleep while they wait.
    """
    _let_threads_sleep()
    try:
        with _cleaning_up_when_ended():
            yield
    except (FloatingPointError, KeyError, OSError, ValueError) as error:
        if not is_about_input(error):
            raise
        logger.debug("Ended by this error:", exc_info=True)
        log_files = [h.stream.name for h in logging.getLogger("avis").handlers if h.stream is not sys.stdout]
        hint = f" [traceback in {log_files[0]}]" if log_files else ""
        sys.stderr.write(f"error: {as_typed(_origin(error)[2])}{hint}\n")
        sys.exit(2)


def _let_threads_sleep() -> None:
    """Let threads that wait for others give their core away, unless the user has said how they wait.

    By default they spin. Where another program has one of the cores, all then spin for the thread that waits
    to run, and training takes many times as long. OpenMP reads this once, when torch is loaded.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _origin(error: Exception) -> tuple[str, str, str]:
    """The file and the first line of the statement that has raised an error, and its message."""
    message = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    if in_worker := WORKER_ERROR.match(message):
        message = in_worker["message"].rstrip()
        message = ast.literal_eval(message) if isinstance(error, KeyError) else message  # shown as its repr
        return in_worker["file"], in_worker["line"], str(message)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return frame.filename, frame.line or "", message


def is_about_input(error: Exception) -> bool:
    """Whether the system over a file has raised it, or code that speaks to users: ours, a part of theirs."""
    if isinstance(error, OSError):
        return True
    file, line, _ = _origin(error)
    if not line.startswith("raise ") or file.startswith("<"):
        return False
    *_, package = re.split(r"(?:site|dist)-packages[/\\]", file)
    if package != file:
        return re.split(r"[/\\]", package)[0] in ABOUT_INPUT
    return not Path(file).is_relative_to(STANDARD_LIBRARY)


@contextmanager
def _cleaning_up_when_ended() -> Iterator[None]:
    """Turn signals that end a program into SystemExit, so that `finally` runs; others' handlers stay."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in ENDING}
    mine = [number for number, handler in before.items() if handler in _PYTHONS_OWN]
    for number in mine:
        signal.signal(number, _end)
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, before[number])


def _end(number: int, _: object) -> NoReturn:
    for each in ENDING:  # `timeout` and others send it twice, which would end the cleaning up
        signal.signal(each, _ignore)
    sys.exit(128 + number)


def _ignore(number: int, _: object) -> None:
    """Do nothing; unlike SIG_IGN, processes that are started meanwhile do not inherit it."""


class _Parser(argparse.ArgumentParser):
    """Its help names commands as they are typed."""

    def format_help(self) -> str:
        return as_typed(super().format_help())


def command_parser(description: str | None, epilog: str) -> argparse.ArgumentParser:
    """The parser of a command; its help keeps the lines of the epilog."""
    return _Parser(
        prog=program_name(),
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def training_parser(description: str | None, epilog: str) -> argparse.ArgumentParser:
    """The command line of Detectron2's training tools: --config-file, --resume, …, KEY VALUE pairs."""
    parser = command_parser(description, epilog)
    parser.add_argument("--config-file", default="", metavar="FILE", help="path to config file")
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--resume", action="store_true", help="go on from the last checkpoint in OUTPUT_DIR")
    start.add_argument("--overwrite", action="store_true", help="delete an earlier training in OUTPUT_DIR")
    parser.add_argument("--reproduce", default="", metavar="RUN", help="start the training of a folder again")
    parser.add_argument("--eval-only", action="store_true", help="perform evaluation only")
    parser.add_argument(
        "--checkpoints",
        nargs="+",
        default=[],
        metavar="FILE",
        help="with --eval-only: evaluate each of these files or patterns, or 'all' of OUTPUT_DIR",
    )
    parser.add_argument(
        "--max-hours", type=POSITIVE, default=0.0, metavar="H", help="stop after H hours, as on SIGTERM"
    )
    add_launch_options(parser)
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config overrides")
    return parser


def add_launch_options(parser: argparse.ArgumentParser) -> None:
    """Add Detectron2's options that say how many processes there are, as `avis.engine.launch` takes them."""
    parser.add_argument("--num-gpus", type=int, default=1, help="number of gpus *per machine*")
    parser.add_argument("--num-machines", type=int, default=1, help="total number of machines")
    parser.add_argument(
        "--machine-rank", type=int, default=0, help="the rank of this machine (unique per machine)"
    )
    parser.add_argument(
        "--dist-url", default="auto", metavar="URL", help="where the processes meet, default: %(default)s"
    )


def number_type(wanted: str, is_wanted: Callable[[Any], bool], kind: type = float) -> Callable[[str], Any]:
    """The type of an option that takes some numbers only, for argparse.

    Args:
        wanted: ends the message about another one, which begins "… must be".
        is_wanted: tells of a finite number.
        kind: float or int.
    """

    def read(text: str) -> Any:
        with suppress(ValueError):
            value = kind(text)
            if math.isfinite(value) and is_wanted(value):
                return value
        raise argparse.ArgumentTypeError(f"{text!r} must be {wanted}")

    return read


POSITIVE = number_type("a number above 0", lambda value: value > 0)
SHARE = number_type("a number from 0 to 1", lambda value: 0 <= value <= 1)
WHOLE = number_type("a whole number of 0 or more", lambda value: value >= 0, int)
COUNT = number_type("a whole number of 1 or more", lambda value: value >= 1, int)
