"""Writing weight files, whole or not at all."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import safetensors.torch
import torch

from avis.files import replacing
from avis.weights.about import to_metadata
from avis.weights.reading import StateDict

SUFFIXES = (".safetensors", ".pth")
NOTHING: Mapping[str, Any] = MappingProxyType({})


def write_weights(
    path: str | Path, weights: StateDict, source: str, described: Mapping[str, Any] = NOTHING
) -> None:
    """Write weights in the format that the suffix names, one of SUFFIXES.

    Args:
        path: the file.
        weights: tensors by name.
        source: where they come from, noted in the metadata of .safetensors.
        described: what is known about them, as `about` gives it.

    Raises:
        ValueError: another suffix.
        OSError: the file cannot be written.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: the suffix of a weight file to be written is one of {', '.join(SUFFIXES)}")
    # Copies: tensors that share memory cannot be in one .safetensors.
    weights = {name: value.detach().clone().contiguous() for name, value in weights.items()}
    with replacing(path) as unfinished, unfinished.open("wb") as file:
        if path.suffix == ".pth":
            # given a path, it would write the name into the file
            torch.save({"model": weights, **described}, file)
        else:
            metadata = {"format": "pt", "source": source, **to_metadata(described)}
            file.write(safetensors.torch.save(weights, metadata))
