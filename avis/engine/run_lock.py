"""The lock of a folder: one run writes there at a time, and what a dead run has left is taken over.

The file says who holds it, and its time of change is renewed as long as that process lives. So a process of
another host, which cannot be asked, is found dead when the file no longer changes.
"""

import fcntl
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from avis.files import is_running

logger = logging.getLogger(__name__)

LOCK = "run.lock"
BEAT_SECONDS = 10.0
# How long another host's lock is watched: several beats, as file systems of clusters show a change late.
WATCH_SECONDS = 45.0

Holder = dict[str, str | int]

# The time of change of a file that is not there.
_GONE = -1


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder, which is made where it is missing.

    Raises:
        FileExistsError: a process that runs holds it; the message names it.
        OSError: the folder cannot be written.
    """
    lock, mine = folder / LOCK, json.dumps(_myself())
    _prepare(folder)
    while not (_create(lock, mine) or _take_over(lock, mine)):
        pass
    ended = threading.Event()
    threading.Thread(target=_beat, args=(lock, ended), daemon=True).start()
    try:
        yield
    finally:
        ended.set()
        if _content(lock) == mine:
            lock.unlink()


def _prepare(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error


def _create(lock: Path, content: str) -> bool:
    """Make the lock file; False where there is one."""
    try:
        with lock.open("x") as file:
            file.write(content)
    except FileExistsError:
        return False
    except OSError as error:
        raise _unwritable(lock.parent, error) from error
    return True


def _unwritable(folder: Path, error: OSError) -> OSError:
    return OSError(f"OUTPUT_DIR {folder} cannot be written ({error.strerror}); choose another OUTPUT_DIR")


def _beat(lock: Path, ended: threading.Event) -> None:
    while not ended.wait(BEAT_SECONDS):
        try:
            os.utime(lock)
        except FileNotFoundError:
            logger.warning("%s is gone: another run may write to this folder", lock)
            return
        except OSError as error:  # of a network, which may come back
            logger.warning("%s cannot be renewed: %s", lock, error)


def _take_over(lock: Path, mine: str) -> bool:
    """Take the lock of a process that runs no more; False where the file has gone meanwhile.

    Raises:
        FileExistsError: it runs.
    """
    try:
        file = lock.open("r+", errors="replace")
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _unwritable(lock.parent, error) from error
    with file:
        # Of several that judge at once, the others wait, and find the first one's name. Some file systems of
        # clusters have no such locks: two that come in the same moment are then not told apart.
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        holder = _parse(file.read())
        if _runs(lock, holder):
            raise FileExistsError(
                f"OUTPUT_DIR {lock.parent} is in use by {_name(holder)}: wait until it has ended, or choose "
                f"another OUTPUT_DIR [{lock}]"
            )
        if not _is_still(lock, file):
            return False
        file.seek(0)
        file.truncate()
        file.write(mine)
    logger.warning("%s, which held %s, runs no more", _name(holder), lock.parent)
    return True


def _is_still(lock: Path, file: TextIO) -> bool:
    """Whether the path leads to the open file: who held it may have removed it, and another made it anew."""
    return lock.exists() and os.path.samestat(lock.stat(), os.fstat(file.fileno()))


def _runs(lock: Path, holder: Holder) -> bool:
    myself = _myself()
    if all(holder.get(key) == myself[key] for key in ("host", "namespace")):
        process = int(holder["pid"])
        return is_running(process) and holder["started"] == _start_time(process)
    logger.warning("%s holds %s: watching whether it still runs", _name(holder), lock.parent)
    before, deadline = _changed(lock), time.monotonic() + WATCH_SECONDS
    while time.monotonic() < deadline:
        time.sleep(min(1.0, WATCH_SECONDS / 10))
        if (now := _changed(lock)) != before:
            return now != _GONE
    return False


def _myself() -> Holder:
    """This process, as no other one is named: numbers of processes come again, on hosts and in containers."""
    number = os.getpid()
    return {
        "host": socket.gethostname(),
        "namespace": _link("/proc/self/ns/pid"),
        "pid": number,
        "started": _start_time(number),
    }


def _start_time(process: int) -> str:
    """When a process has started, in ticks since the host has; "" where the system does not tell."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):  # it has ended, or this is not Linux
        return ""
    # The second field, a name in brackets, can have spaces and brackets itself.
    return stat.rpartition(")")[2].split()[19]


def _link(path: str) -> str:
    return os.readlink(path) if os.path.islink(path) else ""


def _content(lock: Path) -> str | None:
    try:
        return lock.read_text(errors="replace")
    except FileNotFoundError:
        return None


def _changed(lock: Path) -> int:
    """The time of change. The file is opened, which makes network file systems ask their server."""
    try:
        with lock.open("rb") as file:
            return os.fstat(file.fileno()).st_mtime_ns
    except FileNotFoundError:
        return _GONE


def _parse(content: str) -> Holder:
    """Who holds a lock; nobody known where its file has not been written whole."""
    try:
        holder = json.loads(content)
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def _name(holder: Holder) -> str:
    return f"process {holder['pid']} on {holder['host']}" if holder else "an unknown process"
