"""NumPy arrays and tensors from the parts that a pickle gives: numbers only, and within the bytes there.

NumPy and PyTorch trust these parts. An array of objects, or one larger than its bytes, reads foreign memory.
"""

import math

import numpy as np
import torch
from torch import Tensor

# Kinds of numbers with their sizes in bytes, as NumPy writes them: those that PyTorch has, too.
_NUMERIC = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16")
_BYTE_ORDERS = ("<", ">", "=", "|")
# A tensor may repeat its storage (stride 0); more values than this are no weights.
_MAX_VALUES = 2**40


class DamagedArray(ValueError):
    """The parts of an array or a tensor do not belong together."""


def numeric_dtype(code: object) -> np.dtype | None:
    """The type of numbers that NumPy writes as `code`, None: of anything else, such as objects or text."""
    if not isinstance(code, str) or code.lstrip("".join(_BYTE_ORDERS)) not in _NUMERIC:
        return None
    return np.dtype(code)


def with_byte_order(dtype: np.dtype, state: object) -> np.dtype:
    """A type of numbers with the byte order of its pickled state (version, order, no fields, ...)."""
    if not isinstance(state, tuple) or len(state) < 5 or state[1] not in _BYTE_ORDERS:
        raise DamagedArray("the state of a dtype is damaged")
    if any(part is not None for part in state[2:5]):
        raise DamagedArray("a dtype of numbers has fields")
    return dtype.newbyteorder(state[1])


def array_of(content: object, dtype: object, shape: object, order: object = "C") -> np.ndarray:
    """An array of its own memory in the machine's byte order, with exactly the bytes of `content`."""
    if isinstance(content, str):  # as Python 2 wrote bytes
        content = content.encode("latin1")
    if (
        not isinstance(content, bytes | bytearray)
        or not isinstance(dtype, np.dtype)
        or order not in ("C", "F")
    ):
        raise DamagedArray("the state of an array is damaged")
    if math.prod(_sizes(shape)) * dtype.itemsize != len(content):
        raise DamagedArray(f"an array of shape {shape} and type {dtype} has {len(content)} bytes")
    return np.ndarray(shape, dtype, content, order=order).astype(dtype.newbyteorder("="))


def flat_tensor(content: bytearray, dtype: object) -> Tensor:
    """The values of a storage, in its memory."""
    if not isinstance(dtype, torch.dtype):
        raise DamagedArray("a storage has no type of numbers")
    return torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)


def tensor_of(storage: object, offset: object, size: object, stride: object) -> Tensor:
    """A tensor in a flat storage, whose memory it shares; `offset` and `stride` count values."""
    if not isinstance(storage, Tensor) or storage.dim() != 1:
        raise DamagedArray("a tensor has no storage")
    sizes, strides, (start,) = _sizes(size), _sizes(stride), _sizes((offset,))
    if len(sizes) != len(strides) or math.prod(sizes) > _MAX_VALUES:
        raise DamagedArray("the state of a tensor is damaged")
    last = start + sum((n - 1) * step for n, step in zip(sizes, strides, strict=True))
    if 0 not in sizes and last >= storage.numel():
        raise DamagedArray(f"a tensor of shape {sizes} goes beyond its storage of {storage.numel()} values")
    return torch.as_strided(storage, sizes, strides, start)


def _sizes(sizes: object) -> tuple[int, ...]:
    if not isinstance(sizes, tuple | list) or not all(isinstance(n, int) and n >= 0 for n in sizes):
        raise DamagedArray("a shape is not of whole numbers")
    return tuple(sizes)
