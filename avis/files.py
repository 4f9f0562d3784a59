"""Writing files so that they are whole or absent."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a path to write a file to, which takes the place of `path` when the block ends without an error.

    Even if the process is killed meanwhile, there is all of the file or what was there before. The folder
    must exist.
    """
    path = Path(path)
    # Of the same suffix, by which some writers choose the format.
    unfinished = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield unfinished
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())  # or the name could reach the disk before the content
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
