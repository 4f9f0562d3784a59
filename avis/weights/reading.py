"""Reading weight files safely. A file is data: nothing in it is ever executed."""

import mmap
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from avis.weights.about import from_metadata
from avis.weights.file_kinds import Kind, NotWeights, kind_of
from avis.weights.parts import PARTS
from avis.weights.pickled_objects import RefersToCode, StandIn
from avis.weights.torch_files import read_pickle, read_torch_legacy, read_torch_zip
from avis.weights.wrappers import plain_names
from avis.weights.zoo_paths import PathManager
from avis.zoo import DownloadError

if TYPE_CHECKING:
    from avis.weights.sharded import Place

StateDict = dict[str, Tensor]

# Where programs put the weights in what they save; "blobs" is Caffe2's.
_WEIGHT_KEYS = ("model", "state_dict", "blobs")
# Errors that damaged bytes raise, and that tell a user nothing.
_SPEAK_OF_BYTES = (LookupError, TypeError, AttributeError, EOFError, struct.error)
# Of what a file says, that many characters are shown.
_SHOWN = 200


def read_checkpoint(path: str, place: "Place | None" = None) -> dict:
    """Read a file of weights or of a whole training state.

    Args:
        path: a file of torch.save, a pickle or a file of safetensors, whatever its name; local or as iopath
            resolves it (https://, detectron2://, zoo://). Or the folder of a checkpoint in parts.
        place: of a checkpoint in parts, as `read_sharded` takes it.

    Returns:
        A dict with the weights under "model", what the file says about them (see `about`) and, in a training
        state, what else was saved. Names lack what wrappers put before them (see `plain_names`). Of objects
        that are neither tensors, arrays nor plain, a `StandIn` remains.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it cannot be downloaded.
        ValueError: it is damaged, or holds more than weights.
    """
    local_path = _local_path(path)
    try:
        content = _read_parts(local_path, place) if local_path.is_dir() else _read_content(local_path)
    except Exception as error:  # damaged bytes can raise anything
        raise ValueError(f"{path} cannot be read as a weight file: {_reason(error)}") from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{path} is no weight file: it holds {_what_is(content)}; of a model, save its state_dict()"
        )
    checkpoint = _with_model(content)
    checkpoint["model"] = _tensors_of(checkpoint["model"], path)
    return checkpoint


def _with_model(content: dict) -> dict:
    """The content of a file with its weights under "model"."""
    for key in _WEIGHT_KEYS:
        if isinstance(content.get(key), dict):
            return {"model": content.pop(key), **content}
    tensors = {name: value for name, value in content.items() if _is_tensor(value)}
    if not tensors:
        return {"model": content}
    return {**{key: value for key, value in content.items() if key not in tensors}, "model": tensors}


def _local_path(path: str) -> Path:
    try:
        local_path = Path(PathManager.get_local_path(path))
    except DownloadError:  # of the zoo, and says what to do
        raise
    except OSError as error:
        raise OSError(
            f"{path} cannot be downloaded ({error}); download it by hand and give the path of the file"
        ) from error
    if local_path.is_dir() and not (local_path / PARTS).is_file():
        raise FileNotFoundError(f"weight file not found: {path} is a folder; give a file in it")
    if not local_path.exists():
        raise FileNotFoundError(f"weight file not found: {path}")
    return local_path


def _read_parts(folder: Path, place: "Place | None") -> object:
    from avis.weights.sharded import read_sharded  # here, as it takes a second to import

    return read_sharded(folder, place)


def _read_content(path: Path) -> object:
    kind = kind_of(path)
    if kind is Kind.SAFETENSORS:
        return _read_safetensors(path)
    if kind is Kind.TORCH_ZIP:
        return read_torch_zip(path)
    read = read_torch_legacy if kind is Kind.TORCH_LEGACY else read_pickle
    # A map's reads end at its end, while a file's first take as much memory as they are asked for.
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return read(content)


def _read_safetensors(path: Path) -> dict:
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    return {"model": safetensors.torch.load_file(path), **from_metadata(metadata)}


def _tensors_of(weights: dict, path: str) -> StateDict:
    tensors = {name: _tensor_of(name, value, path) for name, value in weights.items()}
    return dict(zip(plain_names(tensors), tensors.values(), strict=True))


def _tensor_of(name: object, value: object, path: str) -> Tensor:
    if isinstance(name, str) and _is_tensor(value):
        return torch.as_tensor(value)
    shown = repr(name)[:_SHOWN]
    raise ValueError(
        f"{path} is no weight file: {shown} in it is {_what_is(value)}, not a tensor with a name"
    )


def _is_tensor(value: object) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, np.ndarray) and value.dtype.kind in "fiub")


def _what_is(value: object) -> str:
    return f"a {_one_line(value.name)}" if isinstance(value, StandIn) else f"a {type(value).__name__}"


def _reason(error: Exception) -> str:
    """Why a file cannot be read."""
    told = "" if isinstance(error, _SPEAK_OF_BYTES) else _one_line(str(error))
    if isinstance(error, RefersToCode):
        return told
    if told and not isinstance(error, NotWeights):
        told = f"{type(error).__name__}: {told}"
    return "it is damaged or of another format" + (f" ({told})" if told else "")


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_SHOWN]
