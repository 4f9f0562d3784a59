"""What a file is, told from its first bytes and not from its name."""

import zipfile
from enum import Enum, auto
from pathlib import Path

# What torch.save writes first, but for zips: 0x1950a86a20f9469cfc6c, little-endian.
_TORCH_MAGIC = bytes.fromhex("6cfc9c46f9206aa85019")
_UNPACK = "unpack it and give the weight file in it"
_OTHERS = (
    (b"\x1f\x8b", f"a gzip archive: {_UNPACK}"),
    (b"BZh", f"a bzip2 archive: {_UNPACK}"),
    (b"\xfd7zXZ", f"an xz archive: {_UNPACK}"),
    (b"\x28\xb5\x2f\xfd", f"a Zstandard archive: {_UNPACK}"),
    (b"7z\xbc\xaf", f"a 7z archive: {_UNPACK}"),
    (b"Rar!", f"a RAR archive: {_UNPACK}"),
    (b"\x89HDF", "an HDF5 file, as Keras writes them: weights are read from .pth, .pkl and .safetensors"),
    (b"\x93NUMPY", "a single NumPy array: weights are read from .pth, .pkl and .safetensors"),
    (b"version https://git-lfs.github.com/spec", "a Git LFS pointer, not the file itself: run git lfs pull"),
)
_PAGE_BEGINS = (b"<!doctype", b"<html", b"<head", b"<body", b"<?xml", b"<!--")
_TAR = (257, b"ustar")
_HEAD_SIZE = 512


class NotWeights(ValueError):
    """A file is something else than weights; the message says what."""


class Kind(Enum):
    """The formats that weights are read from."""

    SAFETENSORS = auto()
    TORCH_ZIP = auto()
    TORCH_LEGACY = auto()
    PICKLE = auto()


def kind_of(path: Path) -> Kind:
    """Which format a file has.

    Raises:
        NotWeights: it is none that weights are read from.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_SIZE)
    if head.startswith(b"PK\x03\x04"):
        _check_zip(path)
        return Kind.TORCH_ZIP
    if other := _other_kind(head):
        raise NotWeights(other)
    if _TORCH_MAGIC in head[:32]:
        return Kind.TORCH_LEGACY
    # A header of JSON, after its length.
    return Kind.SAFETENSORS if head[8:10] in (b'{"', b"{}") else Kind.PICKLE


def _other_kind(head: bytes) -> str | None:
    """What a file is instead of weights, as far as its first bytes tell."""
    if not head:
        return "it is empty: download or copy it again"
    start, magic = _TAR
    if head[start:].startswith(magic):
        return f"it is a tar archive: {_UNPACK}"
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(_PAGE_BEGINS):
        return "it is a web page, not the file itself: download it again"
    found = [what for magic, what in _OTHERS if head.startswith(magic)]
    return f"it is {found[0]}" if found else None


def _check_zip(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        names = {name.rpartition("/")[2] for name in archive.namelist()}
    if "constants.pkl" in names:
        raise NotWeights("it is a TorchScript program: save the state_dict() of its model")
    if "data.pkl" not in names:
        raise NotWeights(f"it is a zip archive: {_UNPACK}")
