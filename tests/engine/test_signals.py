"""Trainings that are told to stop, and killed."""

import logging
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkProcess
from pathlib import Path

import pytest
import torch

from avis.command_line import parent_at_start, training_parser
from avis.engine import STOPPED, signals
from avis.engine.run_lock import LOCK
from avis.engine.signals import resume_command
from tests.engine import stoppable
from tests.engine.small_model import SmallTrainer
from tests.engine.stoppable import (
    ITERATIONS,
    AskedEarlyTrainer,
    SlowlyEvaluatingTrainer,
    StuckTrainer,
    WorkersTrainer,
    train_patiently,
)

SECONDS = 60
# Until three processes have imported everything, on a busy machine.
LAUNCH_SECONDS = 400


def wait_until(happened: Callable[[], object], seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def done(folder: Path, rank: int = 0) -> list[int]:
    path = folder / f"iterations{rank}.txt"
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


def train_in_session(folder: Path, output: Path, options: dict) -> None:
    """In a process group of its own, whose output goes into a file."""
    os.setsid()
    sys.stdout = sys.stderr = output.open("w", buffering=1)
    logging.basicConfig(stream=sys.stderr, force=True)
    train_patiently(str(folder), **options)


def start(folder: Path, **options: object) -> ForkProcess:
    """Train in a process that has everything imported already."""
    args = (folder, folder.with_suffix(".out"), options)
    process = multiprocessing.get_context("fork").Process(target=train_in_session, args=args)
    process.start()
    return process


def exit_code(process: ForkProcess, seconds: float = SECONDS) -> int | None:
    process.join(seconds)
    code = process.exitcode
    process.kill()
    process.join()
    return code


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The weights after a training that nothing has stopped."""
    folder = tmp_path_factory.mktemp("straight") / "run"
    assert exit_code(start(folder)) == 0
    return final_weights(folder)


def final_weights(folder: Path) -> dict:
    return torch.load(folder / "model_final.pth", weights_only=True)["model"]


def assert_stopped(process: ForkProcess, folder: Path) -> None:
    """With all saved, and goes on."""
    assert exit_code(process) == STOPPED, folder.with_suffix(".out").read_text()
    last = done(folder)[-1]
    assert last < ITERATIONS - 1
    assert (folder / "last_checkpoint").read_text() == f"model_{last:07d}.pth"
    assert (folder / "training_metrics.json").stat().st_size
    assert not (folder / LOCK).exists()


def assert_goes_on(folder: Path, straight: dict, trainer_class: type = stoppable.PatientTrainer) -> None:
    assert exit_code(start(folder, resume=True, trainer_class=trainer_class)) == 0
    assert done(folder) == list(range(ITERATIONS))
    torch.testing.assert_close(final_weights(folder), straight, atol=0, rtol=0)


@pytest.mark.parametrize("number", signals.STOPPING, ids=lambda number: number.name)
def test_stopped_run_goes_on_to_the_same_bits(tmp_path: Path, straight: dict, number: int):
    folder = tmp_path / "run"
    process = start(folder)
    wait_until(lambda: len(done(folder)) > 2)
    os.kill(process.pid, number)
    assert_stopped(process, folder)
    assert_goes_on(folder, straight)


def test_time_limit_stops(tmp_path: Path, straight: dict):
    folder = tmp_path / "run"
    assert_stopped(start(folder, max_hours=1 / 3600), folder)
    assert_goes_on(folder, straight)


def test_signals_that_come_together_are_one(monkeypatch: pytest.MonkeyPatch):
    """A terminal sends it to all processes, and a launcher passes it on to them."""
    now = [1000.0]
    monkeypatch.setattr(signals.time, "monotonic", lambda: now[0])
    with signals.listening():
        assert signals.reason() == ""
        for _ in range(2):
            signal.raise_signal(signal.SIGTERM)
            now[0] += signals.TOGETHER_SECONDS / 2
        assert signals.reason() == "SIGTERM"
        now[0] += 0.1
        with pytest.raises(SystemExit, match=str(128 + signal.SIGINT)):
            signal.raise_signal(signal.SIGINT)
    assert signals.reason() == ""


def test_signal_before_the_first_iteration_stops_before_it(tmp_path: Path):
    folder = tmp_path / "run"
    assert exit_code(start(folder, trainer_class=AskedEarlyTrainer)) == STOPPED
    assert done(folder) == [] and not list(folder.glob("model_*"))
    assert "Stopped by SIGINT after 0 iterations" in folder.with_suffix(".out").read_text()


def test_second_signal_ends_at_once(tmp_path: Path):
    folder = tmp_path / "run"
    process = start(folder, trainer_class=StuckTrainer)
    wait_until(lambda: done(folder))
    os.kill(process.pid, signal.SIGINT)
    time.sleep(3 * signals.TOGETHER_SECONDS)
    assert process.is_alive()
    os.kill(process.pid, signal.SIGTERM)
    assert exit_code(process) == 128 + signal.SIGTERM
    assert not (folder / LOCK).exists()


def test_signal_that_was_ignored_stays_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As SIGHUP is under nohup."""
    folder = tmp_path / "run"
    earlier = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = start(folder)
    finally:
        signal.signal(signal.SIGHUP, earlier)
    wait_until(lambda: done(folder))
    os.kill(process.pid, signal.SIGHUP)
    assert exit_code(process) == 0
    assert done(folder) == list(range(ITERATIONS))


def test_evaluation_is_not_waited_for(tmp_path: Path, straight: dict):
    """Whose videos may take an hour."""
    folder = tmp_path / "run"
    process = start(folder, trainer_class=SlowlyEvaluatingTrainer)
    wait_until(lambda: (folder / "evaluating").exists())
    os.kill(process.pid, signal.SIGTERM)
    assert_stopped(process, folder)
    assert_goes_on(folder, straight)


def test_workers_outlive_a_signal_to_all_processes(tmp_path: Path):
    """Schedulers send it to all, and the iteration needs what a worker loads."""
    folder = tmp_path / "run"
    process = start(folder, trainer_class=WorkersTrainer)
    wait_until(lambda: len(done(folder)) > 2)
    group = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    assert group
    os.killpg(process.pid, signal.SIGTERM)
    assert_stopped(process, folder)
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in group))
    assert exit_code(start(folder, resume=True, trainer_class=WorkersTrainer)) == 0
    assert done(folder) == list(range(ITERATIONS))


@pytest.mark.slow
def test_run_that_is_killed_again_and_again_ends_with_the_same_bits(tmp_path: Path, straight: dict):
    folder, generator = tmp_path / "run", random.Random(1)
    for _ in range(6):
        process = start(folder, resume=True, period=1)
        before = len(done(folder))
        wait_until(lambda: len(done(folder)) > before + 1)  # noqa: B023
        time.sleep(generator.uniform(0, 0.1))
        process.kill()
        process.join()
    assert exit_code(start(folder, resume=True, period=1)) == 0
    assert set(done(folder)) == set(range(ITERATIONS))
    assert done(folder).count(0) == 1  # nothing started over
    torch.testing.assert_close(final_weights(folder), straight, atol=0, rtol=0)
    names = {path.name for path in folder.iterdir() if not path.name.startswith(("events", "model_"))}
    assert names == {"iterations0.txt", "last_checkpoint", "training_metrics.json"}


class Launched:
    """Two processes and their launcher, ours or another, once they train."""

    def __init__(self, folder: Path, *flags: str, launcher: Sequence[str] = ()) -> None:
        self.output = folder.with_suffix(".out")
        command = [sys.executable, *launcher, "-m", "tests.engine.stoppable", folder, *flags]
        with self.output.open("w") as file:
            self.launcher = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        number = len(done(folder, 1))
        wait_until(lambda: self.launcher.poll() is not None or len(done(folder, 1)) > number, LAUNCH_SECONDS)
        children = Path(f"/proc/{self.launcher.pid}/task/{self.launcher.pid}/children").read_text().split()
        kind = "tests.engine.stoppable" if launcher else "spawn_main"
        self.ranks = [pid for pid in map(int, children) if kind in command_line(pid)]

    def __enter__(self) -> "Launched":
        assert len(self.ranks) == 2, self.output.read_text()
        return self

    def __exit__(self, *_: object) -> None:
        self.launcher.kill()
        self.launcher.wait()
        for pid in self.ranks:
            if command_line(pid):
                os.kill(pid, signal.SIGKILL)

    def end(self, seconds: float) -> int:
        """The exit code, once the processes have ended, too."""
        code = self.launcher.wait(seconds)
        wait_until(lambda: not any(command_line(pid) for pid in self.ranks), seconds)
        return code


def command_line(pid: int) -> str:
    """Of a process; "" if it has ended."""
    path = Path(f"/proc/{pid}/cmdline")
    return path.read_text() if path.exists() else ""


@pytest.mark.slow
def test_processes_of_a_launcher_stop_together_and_go_on(tmp_path: Path):
    folder = tmp_path / "run"
    with Launched(folder) as launched:
        os.kill(launched.launcher.pid, signal.SIGUSR1)
        assert launched.end(SECONDS) == STOPPED
    first = done(folder)
    assert first == done(folder, 1)
    output = launched.output.read_text()
    assert "Go on by:" in output and "Traceback" not in output
    # One process alone is told, not the launcher: all stop nevertheless.
    with Launched(folder, "--resume") as launched:
        os.kill(launched.ranks[1], signal.SIGTERM)
        assert launched.end(SECONDS) == STOPPED
    assert done(folder) == done(folder, 1) == list(range(len(done(folder))))
    assert len(done(folder)) > len(first)


@pytest.mark.slow
def test_processes_do_not_outlive_their_launcher(tmp_path: Path):
    """Also where a shell has started it in the background, where SIGINT is ignored."""
    with Launched(tmp_path / "run", "--background", "--stuck") as launched:
        os.kill(launched.launcher.pid, signal.SIGKILL)
        assert launched.end(10) == -signal.SIGKILL


@pytest.mark.slow
def test_processes_do_not_outlive_torchrun(tmp_path: Path):
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    with Launched(tmp_path / "run", "--stuck", launcher=torchrun) as launched:
        os.kill(launched.launcher.pid, signal.SIGKILL)
        assert launched.end(10) == -signal.SIGKILL


def test_parent_is_known_after_a_fork():
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(parent_at_start) == os.getpid()
    assert parent_at_start() == os.getppid()


@pytest.mark.slow
def test_launcher_in_the_background_stops_on_an_interrupt(tmp_path: Path):
    with Launched(tmp_path / "run", "--background") as launched:
        os.kill(launched.launcher.pid, signal.SIGINT)
        assert launched.end(SECONDS) == STOPPED


@pytest.mark.slow
def test_launcher_ends_at_once_on_a_second_signal(tmp_path: Path):
    with Launched(tmp_path / "run", "--stuck") as launched:
        os.kill(launched.launcher.pid, signal.SIGTERM)
        # On a busy machine it may take a while until the first one is handled, and the second seems soon.
        time.sleep(3 * signals.TOGETHER_SECONDS)
        assert launched.launcher.poll() is None
        os.kill(launched.launcher.pid, signal.SIGTERM)
        assert launched.end(SECONDS) == 128 + signal.SIGTERM


@pytest.mark.slow
def test_process_that_was_killed_is_named(tmp_path: Path):
    with Launched(tmp_path / "run") as launched:
        os.kill(launched.ranks[1], signal.SIGKILL)
        assert launched.end(SECONDS) == 128 + signal.SIGKILL
    assert "error: the process of rank 1 was killed by SIGKILL" in launched.output.read_text()


def test_command_that_goes_on(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.setattr(sys, "executable", "python")
    monkeypatch.setattr(sys, "argv", ["tools/train_net.py", "--overwrite", "OUTPUT_DIR", "out put"])
    assert resume_command() == "python tools/train_net.py --resume OUTPUT_DIR 'out put'"
    monkeypatch.setattr(sys, "argv", ["tools/train_net.py", "--resume"])
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    assert resume_command() == "torchrun … tools/train_net.py --resume"


@pytest.mark.parametrize("hours", ["0", "-1", "inf", "nan", "x"])
def test_hours_are_a_time(hours: str, capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit):
        training_parser("", "").parse_args(["--max-hours", hours])
    assert f"--max-hours: '{hours}' must be a number above 0" in capsys.readouterr().err


def test_trainer_alone_does_not_listen(tmp_path: Path):
    before = [signal.getsignal(number) for number in signals.STOPPING]
    SmallTrainer(stoppable.small_cfg(tmp_path, MAX_ITER=1)).train()
    assert [signal.getsignal(number) for number in signals.STOPPING] == before
