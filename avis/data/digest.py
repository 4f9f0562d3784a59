"""What a data set is, in digests: of its annotations, and of the names and sizes of its frames and sounds.

Contents of frames and sounds are not read, so that thousands of videos take seconds.
"""

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from detectron2.data import MetadataCatalog

from avis.data.catalog import ensure_registered
from avis.formats.aviseg import FRAMES, SOUNDS, SOURCES, split_folder
from avis.formats.avtrack import IMAGES, is_avtrack


def digest_data(name: str, features_dir: str, seconds: float) -> dict[str, Any]:
    """Digest a data set, as far as time allows.

    Args:
        name: as DATASETS.TRAIN has it.
        features_dir: of audio features, beside the frames.
        seconds: for frames and sounds; what takes longer is left out.

    Returns:
        "annotations", the path of their file, and its "sha256"; None where there is none. "entries", the
        number of videos' folders and sounds; "files", digests of the first 1, 2, 4, … of them and of all, by
        their number, as far as time was.
    """
    ensure_registered(name)
    path = getattr(MetadataCatalog.get(name), "json_file", None)
    if path is None:
        return {"annotations": None, "sha256": None, "entries": 0, "files": {}}
    json_file = Path(path).absolute()
    folder = json_file.parent if is_avtrack(json_file) else split_folder(json_file)
    units = list(_units(folder, (FRAMES, IMAGES, SOUNDS, SOURCES, features_dir)))
    return {
        "annotations": str(json_file),
        "sha256": digest_file(json_file),
        "entries": len(units),
        "files": _digest_files(folder, units, time.monotonic() + seconds),
    }


def digest_file(path: str | Path) -> str | None:
    """The SHA-256 of a file, None where there is none."""
    if not os.path.isfile(path):
        return None
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _units(folder: Path, names: tuple[str, ...]) -> Iterator[str]:
    """What lies in the folders of a split: a folder or a file for each video."""
    for name in sorted(set(names)):
        if (folder / name).is_dir():
            yield from (f"{name}/{unit}" for unit in sorted(os.listdir(folder / name)))


def _digest_files(folder: Path, units: list[str], deadline: float) -> dict[str, str]:
    digest, digests = hashlib.sha256(), {}
    for number, unit in enumerate(units, 1):
        for name, size in _files(folder, unit):
            digest.update(os.fsencode(f"{name}\0{size}\n"))
        if number & (number - 1) == 0 or number == len(units):
            digests[str(number)] = digest.hexdigest()
        if time.monotonic() > deadline:
            break
    return digests


def _files(folder: Path, name: str) -> Iterator[tuple[str, int]]:
    """Names and sizes of the files at and below a name; of a link into nowhere the size is -1."""
    path = folder / name
    if path.is_dir():
        for below in sorted(os.listdir(path)):
            yield from _files(folder, f"{name}/{below}")
    else:
        yield name, path.stat().st_size if path.exists() else -1
