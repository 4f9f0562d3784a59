"""What names in a pickle mean: makers of tensors, arrays of numbers and plain containers, else a stand-in.

Nothing that a pickle names is imported or run.
"""

import builtins
import collections
import pickle
import re
from collections.abc import Iterable, Mapping
from types import FunctionType

import torch
from torch import Tensor

from avis.weights.arrays import DamagedArray, array_of, numeric_dtype, tensor_of

# Python 2's names.
_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg"}
# Modules that weights have nothing to do with. Nothing of them would be run; the refusal is a warning.
_RUN_CODE = re.compile(
    r"(_pickle|_posixsubprocess|asyncio|bdb|cProfile|code|codeop|commands|concurrent|ctypes|doctest|ftplib|http"
    r"|imp|importlib|marshal|multiprocessing|nt|os|pdb|pickle|pip|pkgutil|platform|popen2|posix|profile|pty"
    r"|pydoc|runpy|shelve|shutil|signal|site|smtplib|socket|subprocess|sys|tempfile|threading|timeit|trace"
    r"|urllib|webbrowser|zipimport)(\.|$)"
)
_LOADERS = frozenset({"numpy.load", "torch.load", "torch.hub.load", "torch.jit.load"})
_PLAIN_KEYS = (str, bytes, int, float, complex, type(None))
_STORAGES = {
    "BFloat16Storage": torch.bfloat16,
    "BoolStorage": torch.bool,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "ComplexDoubleStorage": torch.complex128,
    "ComplexFloatStorage": torch.complex64,
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "ShortStorage": torch.int16,
    "UntypedStorage": torch.uint8,
}


class RefersToCode(pickle.UnpicklingError):
    """A pickle names a function that could run code."""


class StandIn:
    """What is left of an object that is neither weight nor plain: the name of its class."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<{self.name}, not read>"


class UnfinishedArray(StandIn):
    """An array before its state is known."""


def meaning_of(module: str, name: str) -> object:
    """What a pickle means by a name: a maker, a type of numbers or a stand-in.

    Raises:
        RefersToCode: it is a function that could run code.
    """
    module = _RENAMED.get(module, module)
    if (module, name) in _MAKERS:
        return _MAKERS[module, name]
    if module.partition(".")[0] == "torch" and (dtype := _torch_dtype(name)):
        return dtype
    if _could_run_code(module, name):
        raise RefersToCode(
            f"it refers to {module}.{name}, which weights do not need and which could run code"
        )
    return StandIn(f"{module}.{name}")


def make(maker: object, args: object) -> object:
    """What a pickle calls for; of a stand-in's class, a stand-in."""
    if isinstance(maker, StandIn):
        return StandIn(maker.name)
    if not isinstance(maker, FunctionType) or not isinstance(args, tuple | list):
        raise pickle.UnpicklingError(f"a {type(maker).__name__} is called")
    return maker(*args)


def plain_key(key: object) -> object:
    """A key, if it is plain: Python's hash of deeply nested tuples overflows its stack."""
    parts = key if isinstance(key, tuple) else (key,)
    if not all(isinstance(part, (*_PLAIN_KEYS, StandIn)) for part in parts):
        raise pickle.UnpicklingError(f"a {type(key).__name__} is a key")
    return key


def plain_keys(items: Iterable = ()) -> list:
    """Keys, if all are plain."""
    return [plain_key(item) for item in items]


def make_array(content: object, dtype: object, shape: object, order: object, axes: object = None) -> object:
    """An array of numbers, or a stand-in for one of anything else."""
    if isinstance(dtype, StandIn):
        return StandIn("numpy.ndarray")
    array = array_of(content, dtype, shape, "C" if order == "K" else order)
    return array if axes is None else array.transpose(axes)


def _could_run_code(module: str, name: str) -> bool:
    """Whether a name is of a module that runs code, or a function of Python's own such as eval."""
    if module == "builtins":
        function = getattr(builtins, name, None)
        return callable(function) and not isinstance(function, type)
    return bool(_RUN_CODE.match(module)) or f"{module}.{name}" in _LOADERS


def _torch_dtype(name: str) -> torch.dtype | None:
    """The type of the numbers in one of PyTorch's storage classes, or the type of this name."""
    dtype = _STORAGES.get(name, getattr(torch, name, None))
    return dtype if isinstance(dtype, torch.dtype) else None


def _make_bytes(content: object = b"", encoding: object = "latin1") -> bytes:
    if not isinstance(content, str | bytes | bytearray) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("bytes are damaged")
    return content.encode("latin1") if isinstance(content, str) else bytes(content)


def _make_dtype(code: object, _is_aligned: object = False, _is_copy: object = False) -> object:
    dtype = numeric_dtype(code)
    return StandIn("numpy.dtype") if dtype is None else dtype


def _make_unfinished_array(*_args: object) -> UnfinishedArray:
    return UnfinishedArray("numpy.ndarray")


def _make_scalar(dtype: object, content: object = b"") -> object:
    return StandIn("numpy.generic") if isinstance(dtype, StandIn) else array_of(content, dtype, ())[()]


def _make_tensor(  # the arguments of torch._utils._rebuild_tensor_v2, which _rebuild_tensor begins
    storage: object,
    offset: object,
    size: object,
    stride: object,
    _requires_grad: object = False,
    _hooks: object = None,
    bits: object = None,
) -> Tensor:
    if bits:  # conjugate or negative, which the values in the storage do not show
        raise DamagedArray("a tensor is conjugated")
    return tensor_of(storage, offset, size, stride)


def _make_tensor_of_bytes(  # the arguments of torch._utils._rebuild_tensor_v3
    storage: object,
    offset: object,
    size: object,
    stride: object,
    _requires_grad: object,
    _hooks: object,
    dtype: object,
    bits: object = None,
) -> Tensor:
    if not isinstance(storage, Tensor) or not isinstance(dtype, torch.dtype):
        raise DamagedArray("a tensor has no storage")
    return _make_tensor(storage.view(dtype), offset, size, stride, bits=bits)


def _make_parameter(data: object, *_rest: object) -> object:
    return data


def _make_with_attributes(maker: object, _kind: object, args: object, _state: object) -> object:
    return make(maker, args)


def _make_ordered_dict(items: Iterable = ()) -> collections.OrderedDict:
    return collections.OrderedDict((plain_key(key), value) for key, value in items)


def _make_default_dict(_factory: object = None) -> dict:
    return {}


def _make_counter(counts: Mapping | None = None) -> collections.Counter:
    return collections.Counter(dict(counts or {}))


def _make_set(items: Iterable = ()) -> set:
    return set(plain_keys(items))


def _make_frozenset(items: Iterable = ()) -> frozenset:
    return frozenset(plain_keys(items))


def _make_bytearray(*content: object) -> bytearray:
    return bytearray(_make_bytes(*content))


def _make_complex(real: float = 0.0, imaginary: float = 0.0) -> complex:
    return complex(real, imaginary)


def _make_torch_size(sizes: Iterable[int] = ()) -> torch.Size:
    return torch.Size(sizes)


def _make_device(kind: str, index: int | None = None) -> torch.device:
    return torch.device(kind) if index is None else torch.device(kind, index)


_MAKERS = {
    ("builtins", "bytearray"): _make_bytearray,
    ("builtins", "bytes"): _make_bytes,
    ("builtins", "complex"): _make_complex,
    ("builtins", "frozenset"): _make_frozenset,
    ("builtins", "set"): _make_set,
    ("_codecs", "encode"): _make_bytes,
    ("collections", "Counter"): _make_counter,
    ("collections", "OrderedDict"): _make_ordered_dict,
    ("collections", "defaultdict"): _make_default_dict,
    ("numpy", "dtype"): _make_dtype,
    ("torch", "Size"): _make_torch_size,
    ("torch", "device"): _make_device,
    ("torch._tensor", "_rebuild_from_type_v2"): _make_with_attributes,
    ("torch._utils", "_rebuild_parameter"): _make_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _make_parameter,
    ("torch._utils", "_rebuild_tensor"): _make_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _make_tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _make_tensor_of_bytes,
    **{
        (f"numpy.{core}.{module}", name): maker
        for core in ("core", "_core")
        for module, name, maker in (
            ("multiarray", "_reconstruct", _make_unfinished_array),
            ("multiarray", "scalar", _make_scalar),
            ("numeric", "_frombuffer", make_array),
        )
    },
}
