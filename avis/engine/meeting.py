"""How the processes of a run find each other, and who is missing while they wait."""

import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from urllib.parse import urlsplit

from torch.distributed import PrefixStore, Store, TCPStore

from avis.engine.members import Member

# Between two messages about who is missing.
SAY_SECONDS = 30.0
POLL_SECONDS = 0.1


def meet(member: Member, timeout: timedelta) -> Store:
    """Wait until all processes of a run have come.

    Args:
        member: this process.
        timeout: of the meeting, and of whoever uses the store.

    Returns:
        What the processes share. It has nothing of an earlier attempt, which made new processes wait for
        what dead ones had promised.

    Raises:
        ValueError: the address is none.
        OSError: nobody answers there.
        TimeoutError: somebody has not come; the message names the ranks.
    """
    place = urlsplit(member.url)
    if place.scheme != "tcp" or not (place.hostname and place.port):
        raise ValueError(f"the processes cannot meet at {member.url!r}: --dist-url is tcp://HOST:PORT")
    address = f"{place.hostname}:{place.port}"
    keeps = member.rank == 0 and not member.meets_at_agent
    said = [f"rank {member.rank} on {socket.gethostname()}: nobody answers at {address} yet, where all meet"]
    with _saying(said) if member.local_rank == 0 else nullcontext():
        try:
            store = TCPStore(
                place.hostname, place.port, is_master=keeps, timeout=timeout, wait_for_workers=False
            )
        except Exception as error:  # PyTorch raises several kinds, by version
            what = "cannot be opened" if keeps else "does not answer"
            raise OSError(f"{address}, where the processes meet, {what}: {error}") from error
        shared = PrefixStore(f"avis/{member.attempt}", store)
        shared.set(f"here/{member.rank}", socket.gethostname())
        _wait_for_all(shared, member, timeout, said)
    return shared


def _wait_for_all(store: Store, member: Member, timeout: timedelta, said: list[str]) -> None:
    deadline = time.monotonic() + timeout.total_seconds()
    missing = list(range(member.world_size))
    while missing := [rank for rank in missing if not store.check([f"here/{rank}"])]:
        shown = ", ".join(map(str, missing[:20])) + (", …" if len(missing) > 20 else "")
        of_machines = sorted({rank // member.local_size for rank in missing})
        machines = ", ".join(map(str, of_machines[:20]))
        number = f"{len(missing)} of {member.world_size}"
        said[0] = f"{number} processes have not come: ranks {shown} (machines {machines})"
        if time.monotonic() > deadline:
            raise TimeoutError(f"{said[0]} within {timeout}")
        time.sleep(POLL_SECONDS)


@contextmanager
def _saying(message: list[str]) -> Iterator[None]:
    """Say every now and then what is waited for."""
    ended = threading.Event()

    def say() -> None:
        while not ended.wait(SAY_SECONDS):
            sys.stderr.write(f"waiting: {message[0]}\n")
            sys.stderr.flush()

    threading.Thread(target=say, daemon=True).start()
    try:
        yield
    finally:
        ended.set()
