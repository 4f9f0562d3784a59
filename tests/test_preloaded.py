"""Forked programs are told apart from each other and from the tests as real ones are."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import preloaded

CODE = """
import os, sys
print(sys.argv, os.getcwd(), dict(os.environ))
print("torch" in sys.modules, file=sys.stderr)
sys.exit(3)
"""


def test_a_program_has_its_own_words_folder_environment_output_and_exit_code(tmp_path: Path):
    done = preloaded.run([sys.executable, "-c", CODE, "a b"], tmp_path, {"ONLY": "this"})
    assert done.stdout == f"['-c', 'a b'] {tmp_path} {{'ONLY': 'this'}}\n"
    assert (done.stderr, done.returncode) == ("True\n", 3)


def test_programs_leave_nothing_to_the_next(tmp_path: Path):
    (tmp_path / "tool.py").write_text(
        "import json; print(__name__, hasattr(json, 'spoilt')); json.spoilt = 1"
    )
    for _ in range(2):
        assert preloaded.run([sys.executable, tmp_path / "tool.py"], check=True).stdout == "__main__ False\n"


def test_errors_signals_and_programs_without_an_end(tmp_path: Path):
    failed = preloaded.run([sys.executable, "-c", "1 / 0"])
    assert failed.returncode == 1 and failed.stderr.endswith("ZeroDivisionError: division by zero\n")
    with pytest.raises(subprocess.CalledProcessError):
        preloaded.run([sys.executable, "-c", "1 / 0"], check=True)
    killed = preloaded.run([sys.executable, "-c", "import os; os.abort()"])
    assert killed.returncode == -signal.SIGABRT
    with pytest.raises(subprocess.TimeoutExpired):
        preloaded.run([sys.executable, "-c", "import time; time.sleep(60)"], timeout=0.5)
