"""Work on many videos, spread over several processes: whichever is free takes the next one."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import Synchronized

from avis.command_line import exit_on_bad_input

# Does the work on some videos, given the number of its process and theirs; says how many it failed on.
Work = Callable[[int, Iterator[int]], int]

# What processes have to remove half-written files before they are killed.
_END_SECONDS = 10
_POLL_SECONDS = 0.1


def spread(work: Work, num_videos: int, num_processes: int) -> int:
    """Run `work` in several processes, which share the videos 0 … num_videos - 1 among them.

    Args:
        work: can be sent to other processes.
        num_videos: that there are.
        num_processes: to start; 1: this one does the work.

    Returns:
        How many videos failed.

    Raises:
        SystemExit: a process has ended with an exit code of its own, upon which the others are ended.
    """
    if num_processes == 1:
        return work(0, iter(range(num_videos)))
    context = get_context("spawn")
    following, failed = context.Value("q", 0), context.Value("q", 0)
    processes = [
        context.Process(target=_take_videos, args=(work, rank, num_videos, following, failed))
        for rank in range(num_processes)
    ]
    try:
        for process in processes:
            process.start()
        _wait_for(processes)
    finally:
        _end(processes)
    return failed.value


def _take_videos(
    work: Work, rank: int, num_videos: int, following: Synchronized, failed: Synchronized
) -> None:
    with exit_on_bad_input():
        threading.Thread(target=_end_with_parent, daemon=True).start()
        number = work(rank, _next_videos(num_videos, following))
        with failed.get_lock():
            failed.value += number


def _end_with_parent() -> None:
    """End this process, as SIGTERM does, when the one that has started it has been killed."""
    parent_process().join()
    os.kill(os.getpid(), signal.SIGTERM)


def _next_videos(num_videos: int, following: Synchronized) -> Iterator[int]:
    """Videos that no other process has taken."""
    while True:
        with following.get_lock():
            index = following.value
            following.value += 1
        if index >= num_videos:
            return
        yield index


def _wait_for(processes: list[BaseProcess]) -> None:
    while True:
        is_one_alive = any(process.is_alive() for process in processes)
        # After that: all may have ended by now, and the last look at them is to find who failed.
        if code := next((process.exitcode for process in processes if process.exitcode), 0):
            sys.exit(code if code > 0 else 128 - code)
        if not is_one_alive:
            return
        time.sleep(_POLL_SECONDS)


def _end(processes: list[BaseProcess]) -> None:
    started = [process for process in processes if process.pid is not None]
    for process in started:
        process.terminate()
    for process in started:
        process.join(_END_SECONDS)
        process.kill()
        process.join()
