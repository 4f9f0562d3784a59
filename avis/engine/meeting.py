"""How the processes of a run find each other, and who is missing while they wait."""

import json
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
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
        What the processes share. It has nothing of earlier starts of the run, for which torchrun keeps the
        store: new processes would wait for what dead ones had promised. torchrun's own count of restarts
        does not tell them apart, as it differs between machines.

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
        gather = _call if member.rank == 0 else _answer
        name = gather(store, member, timeout, said)
    return PrefixStore(f"avis/{name}", store)


def _call(store: Store, member: Member, timeout: timedelta, said: list[str]) -> str:
    """Call the others of this start by a new name; give it when all have answered."""
    name = uuid.uuid4().hex
    store.set("avis/call", name)
    others = range(1, member.world_size)
    _wait(timeout, said, member, lambda: _missing(store, name, others))
    answers = [store.get(f"avis/{name}/answer/{rank}").decode() for rank in others]
    store.set(f"avis/{name}/all", json.dumps(answers))
    return name


def _answer(store: Store, member: Member, timeout: timedelta, said: list[str]) -> str:
    """Answer the calls until one is of this start: what rank 0 has of it is this process's answer."""
    mine, name = uuid.uuid4().hex, ""

    def missing() -> list[int]:
        nonlocal name
        if not store.check(["avis/call"]):
            return [0]
        if (call := store.get("avis/call").decode()) != name:
            name = call
            store.set(f"avis/{name}/answer/{member.rank}", mine)
        if store.check([f"avis/{name}/all"]) and mine in json.loads(store.get(f"avis/{name}/all")):
            return []
        return _missing(store, name, range(1, member.world_size)) or [0]

    _wait(timeout, said, member, missing)
    return name


def _missing(store: Store, name: str, ranks: Iterable[int]) -> list[int]:
    return [rank for rank in ranks if not store.check([f"avis/{name}/answer/{rank}"])]


def _wait(timeout: timedelta, said: list[str], member: Member, missing: Callable[[], list[int]]) -> None:
    """Wait until no rank is missing; `said` says who is.

    Raises:
        TimeoutError: somebody has not come.
    """
    deadline = time.monotonic() + timeout.total_seconds()
    while ranks := missing():
        said[0] = _say(ranks, member)
        if time.monotonic() > deadline:
            raise TimeoutError(f"{said[0]} within {timeout}")
        time.sleep(POLL_SECONDS)


def _say(missing: list[int], member: Member) -> str:
    shown = ", ".join(map(str, missing[:20])) + (", …" if len(missing) > 20 else "")
    of_machines = sorted({rank // member.local_size for rank in missing})
    machines = ", ".join(map(str, of_machines[:20]))
    number = f"{len(missing)} of {member.world_size}"
    return f"{number} processes have not come: ranks {shown} (machines {machines})"


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
