"""Writing a checkpoint in parts: each process writes its share of the tensors, at the same time.

Tensors that all processes have are shared out by size; of a tensor that is itself shared out (SOLVER.FSDP),
each process writes its own piece. `avis.weights.sharded` reads them, into any number of processes.
"""

import shutil
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from detectron2.utils import comm
from torch import Tensor, nn

from avis.files import delete, unfinished_path
from avis.weights import AVERAGED
from avis.weights.parts import REST, TENSORS, checksum, write_parts
from avis.weights.pieces import is_piece

Keys = tuple[str | int, ...]

# What each process has its own of, and the main one those of all.
_OF_MAIN = "rng_states"
# Sets of weights.
_WEIGHTS = ("model", AVERAGED)


def write_sharded(folder: Path, checkpoint: Mapping[str, Any], buffers: Collection[str]) -> None:
    """Write a checkpoint; all processes must call this.

    Args:
        folder: gets the parts, when all are there; what it held before is deleted then.
        checkpoint: what to write; beside tensors, what the main process has.
        buffers: names in the model's weights of which the main process's count, as others may differ.

    Raises:
        OSError: a process cannot write its part; in all processes. The folder is as it was.
    """
    unfinished = comm.all_gather(unfinished_path(folder))[0]
    is_main = comm.is_main_process()
    try:
        _together(lambda: unfinished.mkdir() if is_main else None)
        tensors = {
            "/".join(map(str, keys)): (keys, value)
            for keys, value in _tensors(checkpoint)
            if keys[0] != _OF_MAIN and not (keys[0] in _WEIGHTS and keys[1] in buffers)
        }
        checksums = _write_tensors(unfinished, {name: value for name, (_, value) in tensors.items()})
        keys_of = {name: keys for name, (keys, _) in tensors.items()}
        rest = _without(checkpoint, set(keys_of.values()))
        rest[TENSORS] = keys_of
        _together(lambda: _finish(unfinished, folder, rest, checksums) if is_main else None)
    except BaseException:
        if is_main:
            shutil.rmtree(unfinished, ignore_errors=True)
        raise


def pieces_to_fill(model: nn.Module) -> Callable[[Keys, torch.Size, Mapping[str, Any]], Tensor | None]:
    """Tells `read_sharded` which piece of a tensor this process needs, of a model in pieces."""
    own = model.state_dict(keep_vars=True)

    def place(keys: Keys, shape: torch.Size, rest: Mapping[str, Any]) -> Tensor | None:
        if keys[0] in _WEIGHTS:
            name = keys[1]
        elif keys[1:3] == ("optimizer", "state"):
            name = rest[keys[0]]["parameters"][keys[3]]
        else:
            return None
        like = own.get(name)
        fits = is_piece(like) and like.shape == shape
        return torch.zeros_like(like, requires_grad=False) if fits else None

    return place


def _write_tensors(folder: Path, tensors: Mapping[str, Tensor]) -> dict[str, list[int]]:
    """Write those of this process; the checksums of all processes' files."""
    # here, as it takes a second to import
    from torch.distributed.checkpoint import CheckpointException, FileSystemWriter, save

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            save(dict(tensors), storage_writer=FileSystemWriter(folder))
    except CheckpointException as error:
        rank, (reason, _) = next(iter(error.failures.items()))
        raise OSError(f"{folder}: rank {rank} cannot write its part: {reason}") from reason
    own = {path.name: checksum(path) for path in folder.glob(f"__{comm.get_rank()}_*")}
    return {name: value for part in comm.all_gather(own) for name, value in part.items()}


def _finish(unfinished: Path, folder: Path, rest: dict, checksums: dict[str, list[int]]) -> None:
    torch.save(rest, unfinished / REST)
    others = {name: checksum(unfinished / name) for name in (REST, ".metadata")}
    write_parts(unfinished, {**checksums, **others})
    if folder.exists():
        delete(folder)
    unfinished.rename(folder)


def _together(action: Callable[[], object]) -> None:
    """Do something that fails in all processes if it fails in one."""
    error: Exception | None = None
    try:
        action()
    except (OSError, RuntimeError) as raised:
        error = raised
    told = [text for text in comm.all_gather("" if error is None else str(error)) if text]
    if told:
        raise OSError(told[0]) from error


def _tensors(node: Any, keys: Keys = ()) -> Iterator[tuple[Keys, Tensor]]:
    """The tensors of more than a number in nested dicts."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _tensors(value, (*keys, key))
    elif isinstance(node, Tensor) and node.dim():
        yield keys, node


def _without(node: Any, left_out: Collection[Keys], keys: Keys = ()) -> Any:
    """Nested dicts without what has some keys."""
    if not isinstance(node, Mapping):
        return node
    return {
        key: _without(value, left_out, (*keys, key))
        for key, value in node.items()
        if (*keys, key) not in left_out
    }
