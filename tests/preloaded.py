"""Programs of the project, run in processes of their own that need not import PyTorch and Detectron2 first.

Their imports take seconds, and the suite runs many programs. So one process has imported them and waits, and
each program is a fork of it. Tests of signals, launchers and imports start real interpreters instead.
"""

import atexit
import importlib
import json
import os
import runpy
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
IMPORTED = (
    "avis.data",
    "avis.engine",
    "avis.evaluation",
    "avis.inference.predictor",
    "matplotlib.pyplot",
    "torch.utils.tensorboard",
)


def run(
    command: Sequence[object],
    cwd: Path | str | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 300,
    check: bool = False,
) -> subprocess.CompletedProcess:
    """Run [sys.executable, script, …], or with "-m", module, … or "-c", code, …, as subprocess.run would.

    Returns:
        With the output as text.
    """
    executable, *words = map(str, command)
    assert executable == sys.executable
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        request = {
            "words": words,
            "cwd": str(cwd or Path.cwd()),
            "env": dict(os.environ if env is None else env),
            "files": [str(out), str(err)],
        }
        code = _ask(_server(), request, timeout)
        done = subprocess.CompletedProcess([executable, *words], code, out.read_text(), err.read_text())
    if check:
        done.check_returncode()
    return done


@cache
def _server() -> subprocess.Popen:
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.preloaded"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    atexit.register(server.communicate)  # upon which it ends
    return server


def _ask(server: subprocess.Popen, request: dict, timeout: float) -> int:
    """The exit code of a program, negative where a signal has ended it, as subprocess has it."""
    server.stdin.write(json.dumps(request) + "\n")
    server.stdin.flush()
    pid = int(server.stdout.readline())
    overdue = threading.Timer(timeout, os.kill, (pid, 9))
    overdue.start()
    code = int(server.stdout.readline())
    in_time = overdue.is_alive()
    overdue.cancel()
    if not in_time:
        raise subprocess.TimeoutExpired(request["words"], timeout)
    return code


def _serve() -> None:
    for name in IMPORTED:
        importlib.import_module(name)
    for line in iter(sys.stdin.readline, ""):
        pid = os.fork()
        if not pid:
            _become(**json.loads(line))
            return
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def _become(words: list[str], cwd: str, env: dict[str, str], files: list[str]) -> None:
    """Run a program in this process."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    tempfile.tempdir = None
    for descriptor, file in enumerate((os.devnull, *files)):
        os.dup2(os.open(file, os.O_RDWR | os.O_CREAT), descriptor)
    sys.stdin = os.fdopen(0)
    sys.argv = words[1:] if words[0] == "-m" else words
    sys.path[0] = cwd if words[0] in ("-m", "-c") else str(Path(words[0]).parent)
    if words[0] == "-m":
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    elif words[0] == "-c":
        sys.argv = ["-c", *words[2:]]
        exec(words[1], {"__name__": "__main__"})
    else:
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    _serve()
