"""Tasks that the processes of a run take one by one, so that all end at about the same time.

They agree through the store in which they have met, not by collectives: nobody waits for a slower one before
all is done.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import torch.distributed as dist
from detectron2.utils import comm
from tqdm import tqdm

POLL_SECONDS = 0.1
# What a process that has failed gives the others to notice, as all need the store, which may be its own.
NOTICE_SECONDS = 20.0


class SharedWork:
    """Numbered tasks, each of which one process takes; one process alone takes all, in their order.

    Args:
        number: of the tasks; the same in all processes.
        name: of the work, once in a run.
        timeout: how long a process that is done waits while none of the others gets on.
    """

    def __init__(self, number: int, name: str, timeout: timedelta) -> None:
        self.number = number
        self.timeout = timeout
        is_shared = comm.get_world_size() > 1
        store = dist.distributed_c10d._get_default_store() if is_shared else dist.HashStore()
        self._store = dist.PrefixStore(name, store)

    def __iter__(self) -> Iterator[int]:
        """The tasks of this process.

        Raises:
            ConnectionAbortedError: another process has failed.
        """
        while (task := self._store.add("taken", 1) - 1) < self.number:
            self._check()
            yield task

    def advance(self, amount: int) -> None:
        """Say that so much is done."""
        self._store.add("done", amount)

    def advanced(self) -> int:
        """How much all processes have done."""
        return self._store.add("done", 0)

    @contextmanager
    def ending_together(self, bar: tqdm) -> Iterator[None]:
        """Do one's part inside; then wait for the others, and meanwhile move the bar.

        Raises:
            ConnectionAbortedError: another process has failed.
            TimeoutError: the others do not get on.
        """
        try:
            yield
            self._wait_for_others(bar)
        except dist.DistNetworkError as error:
            raise ConnectionAbortedError("the process of rank 0, which all need, does not answer") from error
        except Exception as error:
            self._tell(error)
            raise

    def _wait_for_others(self, bar: tqdm) -> None:
        self._store.add("ended", 1)
        latest, since = -1, time.monotonic()
        while (missing := self._missing("ended")) > 0:
            self._check()
            done = self.advanced()
            bar.update(done - bar.n)
            if done != latest:
                latest, since = done, time.monotonic()
            if time.monotonic() - since > self.timeout.total_seconds():
                raise TimeoutError(f"{missing} other processes have done nothing for {self.timeout}")
            time.sleep(POLL_SECONDS)
        bar.update(self.advanced() - bar.n)

    def _missing(self, event: str) -> int:
        """In how many processes something has not happened yet."""
        return comm.get_world_size() - self._store.add(event, 0)

    def _tell(self, error: Exception) -> None:
        """Let the others fail, too, and wait until they do."""
        with suppress(dist.DistNetworkError):  # all others may have ended already
            if not self._store.check(["failed"]):
                self._store.set("failed", f"the process of rank {comm.get_rank()} has failed: {error}")
            self._store.add("noticed", 1)
            deadline = time.monotonic() + NOTICE_SECONDS
            while self._missing("noticed") > 0 and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)

    def _check(self) -> None:
        if self._store.check(["failed"]):
            raise ConnectionAbortedError(self._store.get("failed").decode())
