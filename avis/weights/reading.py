"""Reading weight files safely. A file is data: nothing in it is ever executed."""

import codecs
import collections
import io
import pickle
import re
from pathlib import Path
from typing import BinaryIO

import numpy as np
import safetensors
import safetensors.torch
import torch
from detectron2.utils.file_io import PathManager
from torch import Tensor, nn

from avis.weights.about import from_metadata

StateDict = dict[str, Tensor]

# Where programs put the weights in what they save; "blobs" is Caffe2's.
_WEIGHT_KEYS = ("model", "state_dict", "blobs")


def read_checkpoint(path: str) -> dict:
    """Read a file of weights or of a whole training state.

    Args:
        path: a file (.pth, .pt, .pkl, .safetensors), local or as iopath resolves it (https://, detectron2://).

    Returns:
        A dict with the weights under "model", what the file says about them (see `about`) and, in a training
        state, what else was saved.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it cannot be downloaded.
        ValueError: it is damaged, or holds more than weights.
    """
    local_path = _local_path(path)
    readers = {".pkl": _read_pickle, ".safetensors": _read_safetensors}
    try:
        content = readers.get(local_path.suffix, _read_torch)(local_path)
    except Exception as error:  # damaged bytes can raise anything
        raise ValueError(f"{path} cannot be read as a weight file: {_reason(error)}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is no weight file: it holds a {type(content).__name__}")
    checkpoint = _with_model(content)
    checkpoint["model"] = _tensors_of(checkpoint["model"], path)
    return checkpoint


def _with_model(content: dict) -> dict:
    """The content of a file with its weights under "model"."""
    for key in _WEIGHT_KEYS:
        if isinstance(content.get(key), dict):
            return {"model": content.pop(key), **content}
    return {"model": content}


def _local_path(path: str) -> Path:
    try:
        local_path = Path(PathManager.get_local_path(path))
    except OSError as error:
        raise OSError(
            f"{path} cannot be downloaded ({error}); download it by hand and give the path of the file"
        ) from error
    if not local_path.is_file():
        raise FileNotFoundError(f"weight file not found: {path}")
    return local_path


def _read_torch(path: Path) -> dict:
    return torch.load(path, map_location="cpu", weights_only=True)


def _read_pickle(path: Path) -> dict:
    with path.open("rb") as file:
        return _WeightUnpickler(file, encoding="latin1").load()


def _read_safetensors(path: Path) -> dict:
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    return {"model": safetensors.torch.load_file(path), **from_metadata(metadata)}


def _load_storage(content: bytes) -> torch.TypedStorage:
    """A pickled tensor's memory, for which pickle would call a function that runs any code in it."""
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


class _WeightUnpickler(pickle.Unpickler):
    """Unpickles NumPy arrays and scalars and tensors in plain containers, and refuses everything else."""

    ALLOWED = {  # noqa: RUF012
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("_codecs", "encode"): codecs.encode,
        ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
        ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
        ("torch.storage", "_load_from_bytes"): _load_storage,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        **{
            (f"numpy.{core}.{module}", function.__name__): function
            for core in ("core", "_core")
            for module, function in (
                ("multiarray", np.zeros(1).__reduce__()[0]),
                ("multiarray", np.float32(0).__reduce__()[0]),
                ("numeric", np.zeros(1).__reduce_ex__(5)[0]),
            )
        },
    }

    def __init__(self, file: BinaryIO, encoding: str) -> None:
        super().__init__(file, encoding=encoding)

    def find_class(self, module: str, name: str) -> object:
        """Look up what the pickle names, in the list of the harmless."""
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"unsupported GLOBAL {module}.{name}")
        return self.ALLOWED[module, name]


def _tensors_of(weights: dict, path: str) -> StateDict:
    tensors = {}
    for name, value in weights.items():
        is_numeric_array = isinstance(value, np.ndarray) and value.dtype.kind in "fiub"
        if not (isinstance(value, Tensor) or is_numeric_array):
            kind = type(value).__name__
            raise ValueError(f"{path} is no weight file: {name!r} in it is a {kind}, not a tensor")
        tensors[name] = torch.as_tensor(value)
    nn.modules.utils.consume_prefix_in_state_dict_if_present(tensors, "module.")
    return tensors


def _reason(error: Exception) -> str:
    if refused := re.search(r"GLOBAL (\S+)", str(error)):  # the word of pickle, and of torch.load, for a name
        return f"it refers to {refused[1]}, which weights do not need and which could run code"
    lines = str(error).strip().splitlines()
    if not lines or lines[0].startswith("Weights only load failed"):  # and torch advises to run what is in it
        return "it is damaged or of another format"
    return f"it is damaged or of another format ({type(error).__name__}: {lines[0]})"
