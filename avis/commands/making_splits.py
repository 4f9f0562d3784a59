"""What commands share that make a split: options, the check at the end, and how they end."""

import argparse
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from avis.command_line import POSITIVE

if TYPE_CHECKING:
    from avis.dataset_tools.unfinished_split import UnfinishedSplit
    from avis.formats.readers.common import Findings

logger = logging.getLogger("avis.commands")

# What is wrong with the recordings, not with what was made of them: told, but no obstacle.
_OF_THE_SOURCE = ("no sound", "silence under sounding masks")
# Problems of a kind that are printed.
_SHOWN = 3


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """--output, --split, --fps, --overwrite."""
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder of the data set")
    parser.add_argument("--split", default="train", metavar="NAME", help="default: %(default)s")
    parser.add_argument(
        "--fps", type=POSITIVE, default=1.0, metavar="N",
        help="frames a second of the data set, the config's INPUT.FPS (default %(default)g)",
    )  # fmt: skip
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a split of this name when all is done"
    )


def run(make: Callable[[argparse.Namespace], int], args: argparse.Namespace) -> NoReturn:
    """Make a split, and end with the exit code that comes of it; with one line when the user interrupts."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        sys.exit(make(args))
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted; the same command goes on from here\n")
        sys.exit(130)


@contextmanager
def _only_errors(name: str) -> Iterator[None]:
    """Log only errors of a part of the program."""
    log = logging.getLogger(name)
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


@contextmanager
def reporting(findings: "Findings") -> Iterator[None]:
    """Tell at the end what was odd, a line for each kind, also where the work ends with an error."""
    try:
        yield
    finally:
        for line in findings.lines():
            logger.warning("warning: %s", line)


def finish(target: "UnfinishedSplit", fps: float) -> int:
    """Check a split, and put it in place if there are no errors.

    Returns:
        The exit code.
    """
    if target.only_json_is_left:
        target.publish()
        return 0
    # here, as torch takes seconds to import
    from avis.dataset_tools.problems import ERROR, WARNING
    from avis.dataset_tools.sound_checks import SoundSettings
    from avis.dataset_tools.validation import validate_dataset

    with _only_errors("avis"):  # each finding is told once, as a problem
        problems = validate_dataset(target.json_file, SoundSettings(fps))
    for kind in dict.fromkeys(problem.kind for problem in problems):
        found = [problem for problem in problems if problem.kind == kind]
        for problem in found[:_SHOWN]:
            logger.warning("%s: %s", WARNING if kind in _OF_THE_SOURCE else problem.severity, problem.message)
        if len(found) > _SHOWN:
            logger.warning("… and %d more of %r", len(found) - _SHOWN, kind)
    if any(problem.severity == ERROR and problem.kind not in _OF_THE_SOURCE for problem in problems):
        logger.error("nothing is put in place: mend what is wrong, and give the same command again")
        return 1
    target.publish()
    logger.info("%s is complete", target.final_json)
    return 0
