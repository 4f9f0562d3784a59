"""The folder in which weights of the zoo are kept: one process fetches each, checks it and names it.

The folder is $AVIS_CACHE, else "avis" in $FVCORE_CACHE, $TORCH_HOME or ~/.cache/torch. Beside each file lies
what is known of it (<file>.json), so that it is not digested again as long as its size and time stay.
"""

import fcntl
import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from avis.files import read_json, write_json
from avis.zoo.download import DownloadError, download, mark_file
from avis.zoo.entries import HASHES, PREFIX, Entry, find

logger = logging.getLogger(__name__)

Digests = dict[str, str]


def cache_folder() -> Path:
    """Where weights are kept."""
    if own := os.environ.get("AVIS_CACHE"):
        return Path(own).expanduser()
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    shared = os.environ.get("FVCORE_CACHE") or os.environ.get("TORCH_HOME") or f"{caches}/torch"
    return Path(shared).expanduser() / "avis"


def place_of(entry: Entry) -> Path:
    """Where the file of an entry is, once it is there."""
    return cache_folder() / entry.file_name


def cached(entry: Entry) -> bool:
    """Whether the file of an entry is there."""
    return place_of(entry).is_file()


def fetch(name: str) -> Path:
    """The file of a name, which is downloaded if it is not there.

    Of several processes one downloads, and the others wait.

    Args:
        name: with or without "zoo://".

    Raises:
        ValueError: the zoo has no such name, or the file is not the one that was published.
        DownloadError: it cannot be downloaded; the message says where to put it by hand.
        OSError: the folder cannot be written to.
    """
    entry = find(name)
    path = place_of(entry)
    if _is_known(entry, path):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(path):
        if _is_known(entry, path):  # by now, thanks to another process
            return path
        if path.is_file():
            digests = _digest(path)
            _check_there(entry, path, digests)
        else:
            digests = _download(entry, path)
        _note(entry, path, digests)
    return path


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes from the same file; the lock of a process that is killed is gone with it."""
    with path.with_name(f".{path.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("%s: another process fetches it; waiting", path)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _download(entry: Entry, path: Path) -> Digests:
    """Download a file, check it, and give it its name."""
    by_hand = f"save it as {path}"
    if entry.by_hand:
        raise DownloadError(
            f"{PREFIX}{entry.name} is downloaded by hand: open {entry.address} in a browser (described at "
            f"{entry.page}) and {by_hand}"
        )
    partial = path.with_name(f"{path.name}.part")
    logger.info("downloading %s to %s", entry.address, path)
    try:
        was_joined = download(entry.address, partial)
        digests = _digest(partial)
        if was_joined and not _agrees(entry, digests):  # perhaps badly
            logger.warning("%s: what has come is not the published file; beginning anew", entry.address)
            partial.unlink()
            download(entry.address, partial)
            digests = _digest(partial)
    except DownloadError as error:
        raise DownloadError(
            f"{PREFIX}{entry.name}: {error}. Without a connection, download it elsewhere and {by_hand}"
        ) from error
    mark_file(partial).unlink(missing_ok=True)
    if not _agrees(entry, digests):
        partial.unlink()
        raise ValueError(f"{PREFIX}{entry.name}: {_objection(entry, digests)}; what came was deleted")
    os.replace(partial, path)
    return digests


def _check_there(entry: Entry, path: Path, digests: Digests) -> None:
    """Refuse a file in the cache that is not the published one, or not the one that was noted."""
    if not _agrees(entry, digests):
        raise ValueError(f"{path}: {_objection(entry, digests)}; delete it, and it is downloaded again")
    noted, address = (_noted(path).get(key) for key in ("sha256", "address"))
    if not entry.digest and address not in (None, entry.address):
        raise ValueError(
            f"{path} is of {address}, {PREFIX}{entry.name} is now {entry.address}: delete the file to get "
            f"that, or the note {_notes(path)} to take the file as it is"
        )
    if not entry.digest and noted not in (None, digests["sha256"]):
        raise ValueError(
            f"{path} has changed: its SHA-256 is {digests['sha256']}, {_notes(path)} says {noted}. Delete "
            "the file to download it again, or that note to take the file as it is"
        )


def _agrees(entry: Entry, digests: Digests) -> bool:
    return not entry.digest or digests[entry.algorithm].startswith(entry.digest)


def _objection(entry: Entry, digests: Digests) -> str:
    found = digests[entry.algorithm]
    return (
        f"the file is not the published one: its {entry.algorithm} is {found}, that of {entry.address} "
        f"begins with {entry.digest}"
    )


def _digest(path: Path) -> Digests:
    digests: Digests = {}
    for algorithm in HASHES:
        with path.open("rb") as file:
            digests[algorithm] = hashlib.file_digest(file, algorithm).hexdigest()
    return digests


def _notes(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _note(entry: Entry, path: Path, digests: Digests) -> None:
    """Note what is known of a file that is in order."""
    if not entry.digest:
        logger.info(
            "%s: no digest is published; its SHA-256 is %s, which is noted and checked from now on",
            path, digests["sha256"],
        )  # fmt: skip
    write_json(_notes(path), {"address": entry.address, **digests, **_state(path)}, indent=2)


def _noted(path: Path) -> dict:
    """What is noted of a file; nothing, if the note is missing or damaged."""
    try:
        noted = read_json(_notes(path))
    except (FileNotFoundError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}


def _is_known(entry: Entry, path: Path) -> bool:
    """Whether a file is there, as it was when it was found in order, and is still what the zoo means."""
    noted = _noted(path)
    if not path.is_file() or not _state(path).items() <= noted.items():
        return False
    if entry.digest:
        return noted.get(entry.algorithm, "").startswith(entry.digest)
    return noted.get("address") == entry.address


def _state(path: Path) -> dict[str, int]:
    status = path.stat()
    return {"bytes": status.st_size, "changed_ns": status.st_mtime_ns}
