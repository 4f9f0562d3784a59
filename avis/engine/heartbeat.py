"""Says where every process is when an iteration does not end: one that hangs lets all others wait."""

import json
import logging
import socket
import sys
import threading
import time
import traceback
from pathlib import Path

import torch
from detectron2.engine import HookBase
from detectron2.utils import comm
from torch.distributed import PrefixStore, Store

logger = logging.getLogger(__name__)

# An iteration of so many seconds is one that may never end.
HANG_SECONDS = 90.0
# How long the processes have to say where they are.
ANSWER_SECONDS = 10.0
POLL_SECONDS = 1.0
# Python files of libraries, whose lines tell less than those that have called them.
_LIBRARIES = ("site-packages", "lib/python")


class HeartbeatHook(HookBase):
    """Watches the iterations of several processes, in a thread of each; waiting ends at the timeout anyway.

    Hooks before it, which save, are watched, too, and those after it, which evaluate, are not.
    """

    def __init__(self) -> None:
        self._begun: float | None = None
        self._iteration = -1
        self._ended = threading.Event()

    def before_train(self) -> None:
        """Begin to watch."""
        if comm.get_world_size() > 1:
            store = PrefixStore("hang", torch.distributed.distributed_c10d._get_default_store())
            main_thread = threading.get_ident()
            threading.Thread(target=self._watch, args=(store, main_thread), daemon=True).start()

    def before_step(self) -> None:
        """Start the clock."""
        self._iteration, self._begun = self.trainer.iter, time.monotonic()

    def after_step(self) -> None:
        """Stop the clock."""
        self._begun = None

    def after_train(self) -> None:
        """Watch no more."""
        self._ended.set()

    def _watch(self, store: Store, main_thread: int) -> None:
        said = -1
        while not self._ended.wait(POLL_SECONDS):
            begun, iteration = self._begun, self._iteration
            if begun is None or iteration == said or time.monotonic() - begun < HANG_SECONDS:
                continue
            said = iteration
            place = f"{socket.gethostname()}, {_place(main_thread)}"
            store.set(str(comm.get_rank()), json.dumps([iteration, place]))
            if self._ended.wait(ANSWER_SECONDS) or self._begun != begun:
                continue
            answers = [f"rank {rank} {_answer(store, rank, iteration)}" for rank in _ranks()]
            seconds = int(time.monotonic() - begun)
            logger.warning("Iteration %d has not ended in %d s: %s", iteration, seconds, "; ".join(answers))


def _ranks() -> range:
    return range(comm.get_world_size())


def _answer(store: Store, rank: int, iteration: int) -> str:
    """Where a process is; those that an iteration of theirs waits for are an iteration behind at most."""
    if store.check([str(rank)]):
        its_iteration, place = json.loads(store.get(str(rank)))
        if abs(its_iteration - iteration) <= 1:
            return f"is on {place}"
    return "does not answer: it hangs, or evaluates or loads something"


def _place(thread: int) -> str:
    """The line of a thread that is ours, or a user's, rather than a library's."""
    frames = traceback.extract_stack(sys._current_frames()[thread])
    own = [frame for frame in frames if not any(part in frame.filename for part in _LIBRARIES)]
    frame = (own or frames)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}: {frame.line}"
