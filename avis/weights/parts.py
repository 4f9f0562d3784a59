"""The parts of a checkpoint in parts: their list with checksums, and what is no tensor.

PARTS lists the files of the folder with their checksums; it is written last. REST holds all but the tensors,
which lie in PyTorch's files (see `avis.weights.sharded`).
"""

import zlib
from collections.abc import Mapping
from pathlib import Path

from avis.files import read_json, write_json
from avis.weights.torch_files import read_torch_zip

PARTS, REST = "parts.json", "rest.pth"
# In REST: by the name of a tensor, the keys under which it is found in the checkpoint.
TENSORS = "tensors"

_BLOCK = 1 << 22


def read_rest(folder: Path) -> dict:
    """Check all parts, and read what a checkpoint holds beside tensors.

    Raises:
        ValueError: a part is missing or damaged.
    """
    if not (folder / PARTS).is_file():
        raise ValueError(f"{folder} is no checkpoint, or an unfinished one: it has no {PARTS}")
    checksums = read_json(folder / PARTS)
    if not isinstance(checksums, dict):
        raise ValueError(f"{folder} is damaged: its {PARTS} is no list of parts")
    for name, expected in checksums.items():
        path = folder / name
        if not path.is_file():
            raise ValueError(f"{folder} is damaged: its part {name} is missing")
        if checksum(path) != expected:
            raise ValueError(f"{folder} is damaged: its part {name} is not what was written")
    return read_torch_zip(folder / REST)


def checksum(path: Path) -> list[int]:
    """The size of a file, and a number that other contents have only by chance."""
    size = digest = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            size, digest = size + len(block), zlib.crc32(block, digest)
    return [size, digest]


def write_parts(folder: Path, checksums: Mapping[str, list[int]]) -> None:
    """Say that all parts are there."""
    write_json(folder / PARTS, dict(checksums))
