"""Files that are whole or absent, JSON with errors that name the file, and scratch files."""

import hashlib
import json
import os
import shutil
import socket
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any

JsonSource = str | PathLike | dict | list

# Unfinished files carry the host, whose name has no "~", and the number of the process that writes them.
_UNFINISHED = f".unfinished~{socket.gethostname()}~"
_STARTED = time.time()

# Bytes of a file's name, as Linux and macOS have it, and of the longest suffix that says a format.
_NAME_BYTES, _SUFFIX_BYTES = 255, 16


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a path to write a file to, which takes the place of `path` when the block ends without an error.

    Even if the process is killed meanwhile, there is all of the file or what was there before. The folder
    must exist; what killed processes have left in it is removed.
    """
    path = Path(path)
    _sweep(path.absolute().parent, os.getpid())
    unfinished = unfinished_path(path)
    try:
        yield unfinished
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())  # or the name could reach the disk before the content
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: str | Path) -> Iterator[Path]:
    """Give a new folder to fill, which takes the name `path` when the block ends without an error.

    There must be none of that name by then. The folder above must exist; what killed processes have left in
    it is removed.
    """
    path = Path(path)
    _sweep(path.absolute().parent, os.getpid())
    unfinished = unfinished_path(path)
    unfinished.mkdir()
    try:
        yield unfinished
        unfinished.rename(path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)  # unless it has its name


def unfinished_path(path: Path) -> Path:
    """A new name beside a file or folder, for it as long as it is not whole; `remove_leftovers` knows it."""
    # Of the same suffix, by which some writers choose the format, and short, however long the name is.
    suffix = path.suffix if len(os.fsencode(path.suffix)) <= _SUFFIX_BYTES else ""
    return path.with_name(f"{_UNFINISHED}{os.getpid()}~{uuid.uuid4().hex[:8]}{suffix}")


def delete(path: Path) -> None:
    """Delete a file or a folder: all of it is gone or there, even if the process is killed meanwhile."""
    if path.is_dir():
        path = path.rename(unfinished_path(path))
    _remove(path)


def remove_leftovers(folder: Path, of_all_hosts: bool = False) -> None:
    """Remove what has been left unfinished in a folder by processes of this host that run no more.

    Args:
        folder: may be missing.
        of_all_hosts: also what other hosts have left, where none of them writes there any more.
    """
    for leftover in folder.glob(".unfinished~*"):
        is_foreign = not leftover.name.startswith(_UNFINISHED)
        process = leftover.name.removeprefix(_UNFINISHED).partition("~")[0]
        # Another user's may stay, and another process may have removed it meanwhile.
        with suppress(FileNotFoundError, PermissionError):
            is_dead = process.isdigit() and not _is_written(leftover, int(process))
            if is_dead or (is_foreign and of_all_hosts):
                _remove(leftover)


def fit_name(name: str, suffix: str = "") -> str:
    """Give a file's name, cut where name and suffix are longer than file systems take; no two become one."""
    room = _NAME_BYTES - len(os.fsencode(suffix))
    if len(os.fsencode(name)) <= room:
        return name + suffix
    digest = hashlib.blake2b(os.fsencode(name), digest_size=4).hexdigest()
    kept = os.fsencode(name)[: room - len(digest) - 1].decode(errors="ignore")
    return f"{kept}~{digest}{suffix}"


def is_file(path: Path) -> bool:
    """Whether there is such a file; no file has a name that is longer than file systems take."""
    return len(os.fsencode(path.name)) <= _NAME_BYTES and path.is_file()


def is_running(process: int) -> bool:
    """Whether there is a process of this number on this host."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def read_json(path: str | Path) -> Any:
    """Parse a JSON file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not JSON; the message names it.
    """
    try:
        return json.loads(Path(path).read_bytes())
    except FileNotFoundError as error:
        raise FileNotFoundError(f"file not found: {path}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON, perhaps cut off: {error}") from error


def read_source(source: JsonSource, kind: str) -> tuple[str, Any]:
    """Read a JSON file, or take its content if that is given instead of its path.

    Returns:
        What messages call the source, its path or `kind`, and the content.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not JSON; the message names it.
    """
    if isinstance(source, str | PathLike):
        return str(source), read_json(source)
    return kind, source


def write_json(path: str | Path, content: Any, indent: int | None = None) -> None:
    """Write a JSON file, and the folders above it where they are missing."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as unfinished:
        unfinished.write_text(json.dumps(content, indent=indent), encoding="utf-8")


class ScratchFile:
    """A file without a name, read and written by position, in the system's temporary folder (TMPDIR).

    Nothing is left of it once the process has ended, however it ends. It takes no memory of the process.
    """

    def __init__(self) -> None:
        """Open the file."""
        self.folder = tempfile.gettempdir()
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  closed by `close`

    @staticmethod
    def free_space() -> tuple[int, str]:
        """How many bytes are free in the temporary folder, and which it is."""
        folder = tempfile.gettempdir()
        return shutil.disk_usage(folder).free, folder

    def write(self, data: memoryview, offset: int) -> None:
        """Write bytes at a position.

        Raises:
            OSError: the disk is full; the message names the folder.
        """
        while data:
            try:
                written = os.pwrite(self._file.fileno(), data, offset)
            except OSError as error:
                raise OSError(f"{self.folder}: {error}; TMPDIR can name a folder with more space") from error
            data, offset = data[written:], offset + written

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fill a buffer with the bytes from a position on.

        Raises:
            EOFError: they were never written.
        """
        while buffer:
            number = os.preadv(self._file.fileno(), [buffer], offset)
            if not number:
                raise EOFError(f"the scratch file ends before byte {offset}")
            buffer, offset = buffer[number:], offset + number

    def close(self) -> None:
        """Close the file, and so remove it."""
        self._file.close()


def _remove(path: Path) -> None:
    """Delete a file, or a folder with all that is in it."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


@cache
def _sweep(folder: Path, process: int) -> None:
    """Remove the leftovers in a folder, once in a process."""
    remove_leftovers(folder)


def _is_written(unfinished: Path, process: int) -> bool:
    """Whether a process still writes a file; in containers, an earlier one often had this one's number."""
    if process == os.getpid():
        return unfinished.stat().st_mtime >= _STARTED - 1  # file systems keep coarser time
    return is_running(process)
