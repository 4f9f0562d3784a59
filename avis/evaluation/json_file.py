"""Reading JSON with errors that name the file, and writing it so that a file is whole or absent."""

import json
from pathlib import Path
from typing import Any

from avis.files import replacing


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


def write_json(path: str | Path, content: Any, indent: int | None = None) -> None:
    """Write a JSON file, and the folders above it where they are missing."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as unfinished:
        unfinished.write_text(json.dumps(content, indent=indent), encoding="utf-8")
