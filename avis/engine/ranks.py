"""The processes that a launcher starts: it passes signals on to them, and they never outlive it."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import connection
from multiprocessing.context import SpawnProcess
from typing import Any

from avis.engine.signals import STOPPED, TOGETHER_SECONDS, handling

# What the others have to save and to remove half-written files, once one process has failed.
END_SECONDS = 20.0
POLL_SECONDS = 0.5


def run_ranks(main_func: Callable[..., Any], number: int, args: Sequence) -> None:
    """Run ``main_func(rank, *args)`` in new processes, one a rank.

    Raises:
        SystemExit: one has failed, with its exit code, or 128 + the signal that has killed it or this one.
    """
    context = multiprocessing.get_context("spawn")
    start_method = multiprocessing.get_start_method()
    processes = [
        context.Process(target=_begin, args=(main_func, rank, start_method, args), name=f"rank {rank}")
        for rank in range(number)
    ]
    launcher = _Launcher(processes)
    try:
        with handling(launcher.receive):
            for process in processes:
                process.start()
            launcher.wait()
    finally:
        launcher.send(signal.SIGKILL)
    if code := launcher.exit_code():
        sys.exit(code)


class _Launcher:
    """Waits for processes, and passes on what it receives."""

    def __init__(self, processes: Sequence[SpawnProcess]) -> None:
        self.processes = processes
        self._received = 0
        self._time = 0.0
        self._first_failure: SpawnProcess | None = None

    def wait(self) -> None:
        """Until all have ended; where one has failed, the others are given `END_SECONDS`."""
        deadline = float("inf")
        while True:
            alive = [process for process in self.processes if process.exitcode is None]
            # After `alive`: all may have ended by now, and the last look at them is to find who failed.
            if self._first_failure is None and (failed := self._failed()):
                self._first_failure = failed[0]
                deadline = time.monotonic() + END_SECONDS
                if failed[0].exitcode != STOPPED:  # the others stop by themselves
                    self.send(signal.SIGTERM)
            if not alive:
                return
            if time.monotonic() > deadline:
                self.send(signal.SIGKILL)
            connection.wait([process.sentinel for process in alive], POLL_SECONDS)

    def receive(self, number: int, _frame: object) -> None:
        """Pass a signal on; after a second one nothing is waited for."""
        if not self._received:
            self._received, self._time = number, time.monotonic()
            self.send(number)
        elif time.monotonic() - self._time > TOGETHER_SECONDS:
            self.send(signal.SIGKILL)
            sys.exit(128 + number)

    def send(self, number: int) -> None:
        """Send a signal to all that run."""
        for process in self.processes:
            # One may end at this moment, or a handler interrupt the code that notes that it has.
            with suppress(ProcessLookupError):
                if process.pid is not None and process.exitcode is None:
                    os.kill(process.pid, number)

    def exit_code(self) -> int:
        """Of the first that has failed; 0 if none has."""
        if self._first_failure is None:
            return 0
        code = self._first_failure.exitcode
        if code >= 0:
            return code  # the process has said why
        if not self._received:
            name = signal.Signals(-code).name
            hint = ", as systems do that run out of memory" if -code == signal.SIGKILL else ""
            sys.stderr.write(f"error: the process of {self._first_failure.name} was killed by {name}{hint}\n")
        return 128 - code

    def _failed(self) -> list[SpawnProcess]:
        return [process for process in self.processes if process.exitcode]


def _begin(main_func: Callable[..., Any], rank: int, start_method: str, args: Sequence) -> None:
    # A spawned process would spawn the workers of its loaders, too: they start as those of one process do.
    multiprocessing.set_start_method(start_method, force=True)
    end_with(multiprocessing.parent_process().pid)
    try:
        main_func(rank, *args)
    except KeyboardInterrupt:  # before the training, which handles it
        sys.exit(128 + signal.SIGINT)


def end_with(parent: int) -> None:
    """Let this process end when its parent has ended, however that was: it would wait, or train on alone."""
    threading.Thread(target=_wait_for_end_of, args=(parent,), daemon=True).start()


def _wait_for_end_of(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)
