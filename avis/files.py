"""Writing files so that they are whole or absent, and JSON with errors that name the file."""

import json
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

JsonSource = str | PathLike | dict | list

# Unfinished files carry the host, whose name has no "~", and the number of the process that writes them.
_UNFINISHED = f".unfinished~{socket.gethostname()}~"


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a path to write a file to, which takes the place of `path` when the block ends without an error.

    Even if the process is killed meanwhile, there is all of the file or what was there before. The folder
    must exist.
    """
    path = Path(path)
    # Of the same suffix, by which some writers choose the format, and short, however long the name is.
    unfinished = path.with_name(f"{_UNFINISHED}{os.getpid()}~{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield unfinished
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())  # or the name could reach the disk before the content
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what `replacing` has left unfinished in a folder, by processes of this host that run no more."""
    for leftover in folder.glob(".unfinished~*"):
        process = leftover.name.removeprefix(_UNFINISHED).partition("~")[0]
        if process.isdigit() and not _is_running(int(process)):
            leftover.unlink(missing_ok=True)


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


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True
