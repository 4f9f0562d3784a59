"""Checkpoints in parts: a folder that the processes of a run have written together, each its share.

`avis.engine.sharded_checkpoint` writes them, by torch.distributed.checkpoint. PyTorch's list of tensors is a
pickle, of which only its own kinds of entries are read.
"""

import pickle
import warnings
from collections.abc import Callable, Mapping
from functools import reduce
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint import CheckpointException, FileSystemReader, filesystem
from torch.distributed.checkpoint import metadata as entries
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load

from avis.weights.parts import TENSORS, read_rest

Keys = tuple[str | int, ...]
# Gives the tensor that shall be filled with the one of these keys and this shape; None: a new one.
Place = Callable[[Keys, torch.Size, Mapping[str, Any]], Tensor | None]

_OF_METADATA = ("MetadataIndex", "ChunkStorageMetadata", "TensorProperties", "TensorStorageMetadata")
_KNOWN: dict[tuple[str, str], object] = {
    **{
        (entries.__name__, name): getattr(entries, name)
        for name in (*_OF_METADATA, "Metadata", "StorageMeta", "_MEM_FORMAT_ENCODING")
    },
    (filesystem.__name__, "_StorageInfo"): filesystem._StorageInfo,
    ("torch", "Size"): torch.Size,
    ("torch.serialization", "_get_layout"): torch.serialization._get_layout,
}


def read_sharded(folder: Path, place: Place | None = None) -> dict:
    """Read a checkpoint in parts, whoever has written them.

    Args:
        folder: of the parts.
        place: takes the keys and the shape of a tensor, and what the checkpoint holds beside tensors; a
            tensor that it gives may be of this process alone a share, of which only this is read.

    Returns:
        What was saved, as one dict.

    Raises:
        ValueError: a part is missing or damaged.
    """
    rest = read_rest(folder)
    reader = _Reader(folder)
    listed = reader.read_metadata().state_dict_metadata
    keys_of = {name: tuple(keys) for name, keys in rest.pop(TENSORS).items()}
    tensors = {name: _target(listed[name], keys, rest, place) for name, keys in keys_of.items()}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        try:
            load(tensors, storage_reader=reader, no_dist=True)
        except CheckpointException as error:
            raise ValueError(f"{folder} cannot be read: {error}") from error
    for name, (*outer, last) in keys_of.items():
        reduce(lambda node, key: node.setdefault(key, {}), outer, rest)[last] = tensors[name]
    return rest


def _target(
    listed: TensorStorageMetadata, keys: Keys, rest: Mapping[str, Any], place: Place | None
) -> Tensor:
    own = place(keys, listed.size, rest) if place else None
    return torch.empty(listed.size, dtype=listed.properties.dtype) if own is None else own


class _Reader(FileSystemReader):
    """PyTorch's reader, which does not run what its list of tensors says."""

    def read_metadata(self, *_args: Any, **_options: Any) -> Metadata:
        with Path(self.path, ".metadata").open("rb") as file:
            return _Unpickler(file).load()


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        """One of the entries of PyTorch's list, or a type of numbers."""
        if module.partition(".")[0] == "pathlib":  # of the folder, as it was called when it was written
            return PurePosixPath
        known = _KNOWN.get((module, name))
        if (
            known is None
            and module == "torch"
            and isinstance(dtype := getattr(torch, name, None), torch.dtype)
        ):
            return dtype
        if known is None:
            raise pickle.UnpicklingError(
                f"it refers to {module}.{name}, which a list of tensors does not need"
            )
        return known
