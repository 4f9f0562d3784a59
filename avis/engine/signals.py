"""Signals that ask a training to stop: it saves, says how it goes on, and ends with an exit code of its own.

The first one is a request, which all processes agree on after an iteration. A second one ends at once.
"""

import logging
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

import torch
from detectron2.utils import comm
from torch.utils.data import DataLoader

from avis.command_names import invocation

# Of job schedulers and `kill`, of a terminal's Ctrl-C, of a terminal that is closed; USR1 for schedulers that
# are told to send it some time before the end.
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
# EX_TEMPFAIL of sysexits.h, "try again": all is saved, and --resume goes on.
STOPPED = 75
# Signals that come so soon after the first are the same one: a terminal and schedulers send it to all
# processes of a program, whose launcher passes it on to them.
TOGETHER_SECONDS = 1.0


class Stopped(SystemExit):
    """Every process of a run has agreed to stop."""

    def __init__(self) -> None:
        super().__init__(STOPPED)


@dataclass
class _Request:
    """What has asked this process to stop, signals as they come in and a time."""

    number: int = 0
    received: float = 0.0
    deadline: float = float("inf")

    def receive(self, number: int, _frame: object) -> None:
        if not self.number:
            self.number, self.received = number, time.monotonic()
        elif time.monotonic() - self.received > TOGETHER_SECONDS:
            sys.exit(128 + number)


_request = _Request()


@contextmanager
def listening(max_hours: float = 0.0) -> Iterator[None]:
    """Take signals for requests inside, but those that this process was started to ignore.

    Args:
        max_hours: after this time the run is asked to stop, too; 0: never.
    """
    global _request
    _request = _Request(deadline=time.monotonic() + max_hours * 3600 if max_hours else float("inf"))
    with handling(_request.receive):
        try:
            yield
        finally:
            _request = _Request()


def heed_interrupts() -> None:
    """Let SIGINT reach this process and those that it starts, also where a script has started it with "&".

    Shells let such programs ignore it, for Ctrl-C in front of them. A training has a better answer.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if in_main_thread and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def handling(handler: Any) -> Iterator[None]:
    """Handle `STOPPING` inside; only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    earlier = {number: signal.getsignal(number) for number in STOPPING}
    mine = [number for number in STOPPING if earlier[number] is not signal.SIG_IGN]
    for number in mine:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, earlier[number])


def reason() -> str:
    """What has asked this process to stop; "" if nothing has."""
    if _request.number:
        return signal.Signals(_request.number).name
    return "--max-hours" if time.monotonic() >= _request.deadline else ""


def stop_if_asked() -> None:
    """End all processes if one is asked to; each must call this.

    Raises:
        Stopped: in every process.
    """
    if agree(bool(reason())):
        raise Stopped


def agree(wanted: bool) -> bool:
    """Whether any process wants something; each must call this."""
    if comm.get_world_size() == 1:
        return wanted
    value = torch.tensor([int(wanted)])
    group = comm._get_global_gloo_group()
    torch.distributed.all_reduce(value, torch.distributed.ReduceOp.MAX, group=group)
    return bool(value)


class UntilAsked:
    """A loader of which all processes come to the end, early if one is asked to stop; then they do."""

    def __init__(self, loader: DataLoader) -> None:
        self.loader = spare_workers(loader)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator:
        for batch in self.loader:
            if reason():
                break
            yield batch
        stop_if_asked()


def spare_workers(loader: Any) -> Any:
    """Let a loader's workers outlive signals that all processes get: the iteration needs what they load."""
    if isinstance(loader, DataLoader):
        loader.worker_init_fn = partial(_begin_worker, loader.worker_init_fn)
    return loader


def _begin_worker(begin: Any, worker: int) -> None:
    # PyTorch ends a worker on every SIGTERM. What handles the other signals is inherited, and does nothing.
    if hasattr(signal, "sigwaitinfo"):  # not on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=_end_worker_by_its_parent, daemon=True).start()
    if begin is not None:
        begin(worker)


def _end_worker_by_its_parent() -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != os.getppid():
        pass
    os._exit(0)


def resume_command() -> str:
    """The command line that goes on with this run."""
    start, words = invocation()
    words = [word for word in words if word != "--overwrite"]
    flag = [] if "--resume" in words else ["--resume"]
    program = "torchrun …" if "TORCHELASTIC_RUN_ID" in os.environ else shlex.quote(sys.executable)
    return f"{program} {shlex.join([*start, *flag, *words])}"


def end_at_once(exit_code: int) -> NoReturn:
    """End this process without the interpreter's clean-up, which can abort in a broken group's threads."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)
