"""Reading weight files safely, and putting them into a model.

Takes our own checkpoints, Mask2Former's (.pkl, .pth), Detectron2's and torchvision's ImageNet backbones and
.safetensors. A file is data: nothing in it is ever executed.
"""

import codecs
import collections
import logging
import pickle
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import safetensors.torch
import torch
from detectron2.checkpoint.c2_model_loading import align_and_update_state_dicts
from detectron2.utils.file_io import PathManager
from torch import Tensor, nn

logger = logging.getLogger(__name__)

StateDict = dict[str, Tensor]

# These depend on the number of classes, and so start anew when a model is fine-tuned on other classes.
CLASS_DEPENDENT = re.compile(r"\bclass_embed\.|criterion\.empty_weight$")

# Names that Mask2Former's own older checkpoints use, and what they are called since.
RENAMED = (
    (re.compile(r"^sem_seg_head\.(?!predictor\.|pixel_decoder\.)"), "sem_seg_head.pixel_decoder."),
    (re.compile(r"\.static_query\."), ".query_feat."),
)

TORCHVISION_RESNET = (
    (re.compile(r"^(?=(conv1|bn1)\.)"), "stem."),
    (re.compile(r"^layer(\d)\."), lambda match: f"res{int(match[1]) + 1}."),
    (re.compile(r"\bbn(\d)\."), r"conv\1.norm."),
    (re.compile(r"\.downsample\.0\."), ".shortcut."),
    (re.compile(r"\.downsample\.1\."), ".shortcut.norm."),
)


@dataclass
class LoadReport:
    """The names of a model's tensors by what became of them, and of the file's tensors that had no use."""

    loaded: list[str]
    reinitialized: list[str]
    missing: list[str]
    unused: list[str]

    def complete(self) -> bool:
        """Whether file and model agree in every name and shape."""
        return not (self.reinitialized or self.missing or self.unused)

    def as_expected(self) -> bool:
        """Whether the file is a whole model of perhaps other classes, or an image backbone alone."""
        same_shapes = all(CLASS_DEPENDENT.search(name) for name in self.reinitialized)
        backbone_alone = all(name.startswith("backbone.") for name in self.loaded)
        return same_shapes and (backbone_alone or not self.missing)

    def summary(self) -> str:
        """One line: counts, and the modules concerned."""
        parts = [f"{len(self.loaded)} tensors loaded"]
        for what, names in (
            ("of another shape, so left at their initial values", self.reinitialized),
            ("not in the file, so left at their initial values", self.missing),
            ("in the file but not in the model", self.unused),
        ):
            if names:
                parts.append(f"{len(names)} {what} ({_group(names)})")
        return "; ".join(parts)


def load_weights(model: nn.Module, path: str) -> LoadReport:
    """Put the weights of a file into `model` as far as names and shapes agree, and log what did not.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file cannot be read, or nothing in it belongs to the model.
    """
    report = apply_weights(model, read_checkpoint(path))
    if not report.loaded:
        raise ValueError(f"{path}: no weight in it belongs to the model ({report.summary()})")
    logger.log(logging.INFO if report.as_expected() else logging.WARNING, "%s: %s", path, report.summary())
    logger.debug("%s: %s", path, report)
    return report


def read_checkpoint(path: str) -> dict:
    """Read a file of weights or of a whole training state.

    Args:
        path: a file (.pth, .pt, .pkl, .safetensors), local or as iopath resolves it (https://, detectron2://).

    Returns:
        A dict with the weights under "model" and, in a training state, what else was saved.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it cannot be downloaded.
        ValueError: it is damaged, or holds more than weights.
    """
    local_path = _local_path(path)
    readers = {".pkl": _read_pickle, ".safetensors": safetensors.torch.load_file}
    try:
        checkpoint = readers.get(local_path.suffix, _read_torch)(local_path)
    except Exception as error:  # damaged bytes can raise anything
        raise ValueError(f"{path} cannot be read as a weight file: {_reason(error)}") from error
    if not isinstance(checkpoint.get("model"), dict):
        checkpoint = {"model": checkpoint}
    checkpoint["model"] = _tensors_of(checkpoint["model"], path)
    return checkpoint


def apply_weights(model: nn.Module, checkpoint: dict) -> LoadReport:
    """Load `checkpoint["model"]` into `model` where names and shapes agree."""
    target = model.state_dict()
    weights = _rename(_match_backbone(checkpoint, target), RENAMED)
    fitting = {
        name: value for name, value in weights.items() if name in target and value.shape == target[name].shape
    }
    # The whole state: some modules set what they miss in it to values of their own.
    model.load_state_dict({**target, **fitting})
    return LoadReport(
        loaded=sorted(fitting),
        reinitialized=sorted(name for name in weights if name in target and name not in fitting),
        missing=sorted(target.keys() - weights.keys()),
        unused=sorted(weights.keys() - target.keys()),
    )


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
        content = _ArrayUnpickler(file, encoding="latin1").load()
    if "model" in content:
        return content
    # Caffe2's format: blobs by name, in detection models one level down, beside the optimizer's momentum.
    blobs = content.get("blobs", content)
    weights = {name: blob for name, blob in blobs.items() if not name.endswith("_momentum")}
    return {"model": weights, "__author__": "Caffe2", "matching_heuristics": True}


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles NumPy arrays and scalars in plain containers, and refuses everything else."""

    ALLOWED = {  # noqa: RUF012
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("_codecs", "encode"): codecs.encode,
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


def _match_backbone(checkpoint: dict, target: StateDict) -> StateDict:
    """Name the weights of an ImageNet backbone as the model names its own; other weights pass unchanged."""
    weights = checkpoint["model"]
    if any(name.startswith("layer1.") for name in weights):
        weights = _rename(weights, TORCHVISION_RESNET)
    elif not checkpoint.get("matching_heuristics"):
        return weights
    # Only the image backbone may match: an audio backbone can have layers of the same names.
    backbone = {name: value for name, value in target.items() if name.startswith("backbone.")}
    return align_and_update_state_dicts(
        backbone, weights, c2_conversion=checkpoint.get("__author__") == "Caffe2"
    )


def _rename(weights: StateDict, rules: Iterable[tuple]) -> StateDict:
    renamed = {}
    for name, value in weights.items():
        for pattern, replacement in rules:
            name = pattern.sub(replacement, name)
        renamed[name] = value
    return renamed


def _group(names: list[str], depth: int = 2) -> str:
    """Names in short: their modules down to `depth`, with counts."""
    modules = Counter(".".join(name.split(".")[:depth]) for name in names)
    return ", ".join(f"{module} x{count}" if count > 1 else module for module, count in modules.items())


def _reason(error: Exception) -> str:
    if refused := re.search(r"GLOBAL (\S+)", str(error)):  # the word of pickle, and of torch.load, for a name
        return f"it refers to {refused[1]}, which weights do not need and which could run code"
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
