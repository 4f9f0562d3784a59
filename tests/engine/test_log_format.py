"""Colour codes: on a terminal only."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests import preloaded

ROOT = Path(__file__).parents[2]
CODE = """
import logging, sys
from argparse import Namespace
from avis.engine import setup
setup(Namespace(config_file=sys.argv[1], opts=["OUTPUT_DIR", sys.argv[2], *sys.argv[3:]], eval_only=False))
logging.getLogger("avis.part").warning("mind \\x1b[31mred\\x1b[0m numbers")
"""


def log_something(folder: Path, *opts: str, **environment: str) -> tuple[str, str]:
    """What a process writes to a console that is no terminal, and to its log."""
    done = preloaded.run(command(folder, *opts), env=clean(**environment))
    assert done.returncode == 0, done.stderr
    return done.stdout, (folder / "log.txt").read_text()


def command(folder: Path, *opts: str) -> list[str]:
    config = ROOT / "configs" / "quickstart.yaml"
    return [sys.executable, "-c", CODE, str(config), str(folder), "MODEL.DEVICE", "cpu", *opts]


def clean(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    return {**kept, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", **more}


@pytest.mark.parametrize("environment", [{}, {"FORCE_COLOR": "1"}])
def test_neither_log_nor_redirected_console_has_codes(tmp_path: Path, environment: dict[str, str]):
    console, log = log_something(tmp_path, **environment)
    assert "mind red numbers" in console and "mind red numbers" in log
    assert "BACKBONE_MULTIPLIER" in log  # the config, which Detectron2 highlights
    assert "\x1b" not in console and "\x1b" not in log


@pytest.mark.parametrize(("environment", "is_coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_a_terminal_has_colours_unless_they_are_not_wanted(
    tmp_path: Path, environment: dict[str, str], is_coloured: bool
):
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        command(tmp_path), stdout=end, stderr=subprocess.PIPE, env=clean(**environment)
    )
    os.close(end)
    shown = b""
    try:
        while part := os.read(terminal, 1024):
            shown += part
    except OSError:  # the other end is closed
        pass
    assert process.wait() == 0
    process.stderr.close()
    os.close(terminal)
    assert (b"\x1b[" in shown) == is_coloured
    assert "\x1b" not in (tmp_path / "log.txt").read_text()
