"""Pickles of tensors: those of torch.save in both of its formats, with storages beside them, and plain ones.

PyTorch's own safe reader refuses a file for one object that is no tensor, and a hostile file can crash it.
"""

import io
import struct
import sys
import zipfile
from pathlib import Path
from typing import BinaryIO

from torch import Tensor

from avis.weights.arrays import DamagedArray, flat_tensor
from avis.weights.unpickling import WeightUnpickler

_PICKLE = "data.pkl"
_BYTE_ORDER = "byteorder"
# Pickles before the content: a magic number, the version of the format, sizes of the writer's integers.
_NUM_LEGACY_HEADERS = 3


def read_torch_zip(path: Path) -> object:
    """The content of a file of torch.save, of PyTorch 1.6 and later."""
    with zipfile.ZipFile(path) as archive:
        (pickled,) = (name for name in archive.namelist() if name.rpartition("/")[2] == _PICKLE)
        records = _Records(archive, pickled.removesuffix(_PICKLE))
        return WeightUnpickler(io.BytesIO(records.read(_PICKLE)), records.load_storage).load()


def read_torch_legacy(file: BinaryIO) -> object:
    """The content of a file of torch.save before PyTorch 1.6.

    Args:
        file: its reads must be bounded by its size.
    """
    for _ in range(_NUM_LEGACY_HEADERS):
        WeightUnpickler(file).load()
    storages = _LegacyStorages(_bytes_left(file))
    content = WeightUnpickler(file, storages.load_storage).load()
    storages.fill(WeightUnpickler(file).load(), file)
    return content


def read_pickle(file: BinaryIO) -> object:
    """The content of a pickle, in which each tensor is a legacy file of its own.

    Args:
        file: its reads must be bounded by its size.
    """
    return _UnpicklerOfTensors(file).load()


class _UnpicklerOfTensors(WeightUnpickler):
    def find_class(self, module: str, name: str) -> object:
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return _load_from_bytes
        return super().find_class(module, name)


def _load_from_bytes(content: bytes) -> object:
    return read_torch_legacy(io.BytesIO(content))


class _Records:
    """The records of a zip of torch.save, in its one folder."""

    def __init__(self, archive: zipfile.ZipFile, folder: str) -> None:
        self._archive = archive
        self._folder = folder
        self._tensors: dict[str, Tensor] = {}
        if (
            f"{folder}{_BYTE_ORDER}" in archive.namelist()
            and self.read(_BYTE_ORDER) != sys.byteorder.encode()
        ):
            raise DamagedArray("it was written on a machine of another byte order")

    def read(self, name: str) -> bytearray:
        """A record, which is never compressed: what is, could be of any size."""
        info = self._archive.getinfo(self._folder + name)
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise DamagedArray(f"its record {name} is compressed")
        return bytearray(self._archive.read(info))

    def load_storage(self, dtype: object, key: str, _location: object, size: int) -> Tensor:
        """The flat tensor of a storage, one for all tensors that share it."""
        if key not in self._tensors:
            self._tensors[key] = flat_tensor(self.read(f"data/{key}"), dtype)
        if self._tensors[key].numel() != size:
            raise DamagedArray(f"its storage {key} is of another size")
        return self._tensors[key]


class _LegacyStorages:
    """The storages of a legacy file, whose values come after the tensors.

    Args:
        num_bytes: more than all of them together.
    """

    def __init__(self, num_bytes: int) -> None:
        self._num_bytes_left = num_bytes
        self._contents: dict[str, bytearray] = {}
        self._tensors: dict[str, Tensor] = {}

    def load_storage(
        self, dtype: object, key: str, _location: object, size: int, view: tuple | None = None
    ) -> Tensor:
        """The flat tensor of a storage, or of the part of it that `view` (key, offset, size) tells."""
        if key not in self._tensors:
            self._contents[key] = bytearray(self._num_bytes(dtype, size))
            self._tensors[key] = flat_tensor(self._contents[key], dtype)
        tensor = self._tensors[key]
        return tensor if view is None else tensor[view[1] : view[1] + view[2]]

    def fill(self, keys: list[str], file: BinaryIO) -> None:
        """Read the values: a storage after the other, each with its number of values before."""
        if set(keys) != self._contents.keys():
            raise DamagedArray("its list of storages is damaged")
        for key in keys:
            (size,) = struct.unpack("<q", file.read(8))
            content = file.read(len(self._contents[key]))
            if size != self._tensors[key].numel() or len(content) != len(self._contents[key]):
                raise DamagedArray(f"its storage {key} is cut short")
            self._contents[key][:] = content

    def _num_bytes(self, dtype: object, size: object) -> int:
        """The size of a storage in bytes, which the file must still have."""
        num_bytes = size * getattr(dtype, "itemsize", 0)
        if not 0 <= num_bytes <= self._num_bytes_left:
            raise DamagedArray("it is cut short")
        self._num_bytes_left -= num_bytes
        return num_bytes


def _bytes_left(file: BinaryIO) -> int:
    position = file.tell()
    file.seek(0, io.SEEK_END)
    end = file.tell()
    file.seek(position)
    return end - position
