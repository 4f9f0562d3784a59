"""How programs end on bad input, and when they are told to end."""

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import META_ARCH_REGISTRY

from avis.command_line import exit_on_bad_input

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("error", [ValueError("bad clip 7"), KeyError("bad clip 7"), OSError("bad clip 7")])
def test_bad_input_ends_with_one_line_and_code_2(error: Exception, capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit) as ended, exit_on_bad_input():
        raise error
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: bad clip 7\n"


TOOLS_ASKED_FOR_HELP = """
import os, runpy, sys
sys.path.insert(0, "tools")
for tool in sys.argv[1:]:
    os.environ.pop("OMP_WAIT_POLICY", None)
    sys.argv = [tool, "--help"]
    try:
        runpy.run_path(tool, run_name="__main__")
    except SystemExit:
        print(os.environ.get("OMP_WAIT_POLICY"), "torch" in sys.modules, file=sys.stderr)
"""


def test_threads_of_every_tool_sleep_while_they_wait():
    """OpenMP reads how they wait when torch is loaded, so this must be said before."""
    tools = sorted(path for path in (ROOT / "tools").glob("*.py") if path.name != "setup_env.py")
    command = [sys.executable, "-c", TOOLS_ASKED_FOR_HELP, *tools]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stderr.splitlines() == ["PASSIVE False"] * len(tools)


def test_users_say_how_threads_wait(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    with exit_on_bad_input():
        assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"


def our_message(path: str) -> None:
    raise ValueError(
        "video 7 frame 3: "
        f"{path} cannot be read"
    )  # fmt: skip


def our_message_about_another(path: str) -> None:
    try:
        {}[path]
    except KeyError as error:
        raise KeyError(f"video 7 frame 3: {path} cannot be read") from error


def ours_within_a_context(path: str) -> None:
    with open(__file__):
        our_message(path)


MESSAGES = (our_message, our_message_about_another, ours_within_a_context)
MISTAKES = {
    "a lookup": lambda: {}["bad clip 7"],
    "a conversion": lambda: int("x"),
    "an unpacking": lambda: [a for a, _ in [(1, 2, 3)]],
    "torch": lambda: torch.utils.data.DataLoader([1], batch_size=-1),
    "torch's own": lambda: torch.distributions.Normal(0.0, -1.0),
    "NumPy": lambda: np.zeros(3).reshape(2),
    "NumPy's arithmetic": lambda: np.float64(1) / divided_by_zero(),
    "the standard library": lambda: statistics.NormalDist.from_samples([]) or json.loads("{"),
}


def divided_by_zero() -> np.float64:
    with np.errstate(all="raise"):
        return np.array(1.0) / np.array(0.0)


class Broken(torch.utils.data.Dataset):
    """Does something when it is read."""

    def __init__(self, action: Callable[[], object]) -> None:
        self.action = action

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> object:
        return self.action()


def in_worker(action: Callable[[], object]) -> object:
    batches = iter(torch.utils.data.DataLoader(Broken(action), num_workers=1))
    try:
        return next(batches)
    finally:
        batches._shutdown_workers()  # or the garbage collection of another test waits for them


@pytest.mark.parametrize("run", [lambda action: action(), in_worker], ids=["here", "in a worker"])
@pytest.mark.parametrize("message", MESSAGES)
def test_messages_of_ours_are_one_line(message: Callable, run: Callable, capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit) as ended, exit_on_bad_input():
        run(partial(message, "a.jpg"))
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: video 7 frame 3: a.jpg cannot be read\n"


def test_files_that_the_system_refuses_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit), exit_on_bad_input():
        (tmp_path / "absent").read_text()
    assert capsys.readouterr().err.endswith(f"No such file or directory: '{tmp_path}/absent'\n")


def test_config_values_that_detectron2_refuses_are_one_line(capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit), exit_on_bad_input():
        META_ARCH_REGISTRY.get("NoModel")
    assert capsys.readouterr().err == "error: No object named 'NoModel' found in 'META_ARCH' registry!\n"


@pytest.mark.parametrize("run", [lambda action: action(), in_worker], ids=["here", "in a worker"])
@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_mistakes_of_the_program_keep_their_traceback(mistake: Callable, run: Callable):
    with pytest.raises((KeyError, ValueError, FloatingPointError)), exit_on_bad_input():
        run(mistake)


def test_other_kinds_of_errors_keep_their_traceback():
    with pytest.raises(AttributeError), exit_on_bad_input():
        raise AttributeError


WRITER = """
import sys, time
from avis.command_line import exit_on_bad_input
from avis.files import replacing

@exit_on_bad_input()
def main():
    with replacing(sys.argv[1]) as unfinished:
        unfinished.write_text("half")
        try:
            print("begun", flush=True)
            time.sleep(60)
        finally:
            time.sleep(0.5)  # cleaning up may take its time, and be asked for again
            print("cleaned up", flush=True)

main()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("times", [1, 2])
def test_ended_programs_leave_nothing_half_written(tmp_path: Path, number: signal.Signals, times: int):
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, tmp_path / "a.json"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "begun\n"
        assert len(list(tmp_path.iterdir())) == 1
        process.send_signal(number)
        if times == 2:
            time.sleep(0.1)
            process.send_signal(number)
        assert process.stdout.readline() == "cleaned up\n"
        assert process.wait(timeout=20) == 128 + number
    assert list(tmp_path.iterdir()) == []


def test_handlers_of_others_stay():
    mine = lambda *_: None  # noqa: E731
    before = signal.signal(signal.SIGTERM, mine)
    try:
        with exit_on_bad_input():
            assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)
    with exit_on_bad_input():
        assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
