"""Writing weight files, whole or not at all."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import safetensors.torch
import torch

from avis.weights.reading import StateDict

SUFFIXES = (".safetensors", ".pth")


def write_weights(path: str | Path, weights: StateDict, source: str) -> None:
    """Write weights in the format that the suffix names, one of SUFFIXES.

    Args:
        path: the file.
        weights: tensors by name.
        source: where they come from, noted in the metadata of .safetensors.

    Raises:
        ValueError: another suffix.
        OSError: the file cannot be written.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: the suffix of a weight file to be written is one of {', '.join(SUFFIXES)}")
    # Copies: tensors that share memory cannot be in one .safetensors.
    weights = {name: value.detach().clone().contiguous() for name, value in weights.items()}
    if path.suffix == ".pth":
        write_whole(path, lambda file: torch.save({"model": weights}, file))
        return
    content = safetensors.torch.save(weights, {"format": "pt", "source": source})
    write_whole(path, lambda file: file.write(content))


def write_whole(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Write a file so that, even if the run is killed meanwhile, there is all of it or its older version."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
