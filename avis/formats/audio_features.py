"""Files of audio features: a NumPy array, and behind it who made it.

A file is an ordinary .npy, float (T, A) or (T, S, A), which every program reads. The features of a video may
also be a folder with a file (T, A) for each source: source_01.npy, source_02.npy, … as H2S has them.

Behind the array's bytes, where NumPy does not look, our own files say in JSON how they were made. So each
file carries its provenance, and a folder may hold files of several makers. AVISeg's files say nothing.

Dimensions: T frames, S separated sources, A audio channels.
"""

import json
import os
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path

import numpy as np

from avis.files import is_file, replacing

_KEY = "avis_audio_features"
_SOURCE = "source_*"


@dataclass(frozen=True)
class Provenance:
    """How features were made.

    Attributes:
        backbone: class of the audio backbone.
        weights: digest of its weights.
        fps: frames per second of the video.
        seconds: of sound that each row hears.
        sample_rate: of that sound, in Hz.
        front_end: version of the log-mel values that the backbone takes.
        silence: what the backbone gives for silence, (A,).
        postprocess: whether they have passed VGGish's post-processing.
    """

    backbone: str
    weights: str
    fps: float
    seconds: float
    sample_rate: int
    front_end: int
    silence: tuple[float, ...]
    postprocess: bool = False

    @property
    def recipe(self) -> "Provenance":
        """What is the same wherever it is made: on another device, silence is rounded differently."""
        return replace(self, silence=())


def source_name(number: int, suffix: str) -> str:
    """The name of the file of a separated source; sources are counted from 1."""
    return f"source_{number:02d}{suffix}"


def source_files(folder: Path, suffix: str) -> list[Path]:
    """The files of the separated sources in a folder, in order; none if there is none.

    Raises:
        ValueError: one is missing before the last, or a name is not as it should be; the message names it.
    """
    found = {path.name for path in folder.glob(f"{_SOURCE}{suffix}")}
    wanted = [source_name(number, suffix) for number in range(1, len(found) + 1)]
    if missing := [name for name in wanted if name not in found]:
        raise ValueError(
            f"{folder / missing[0]} is missing: {len(found)} sources are called {wanted[0]} … {wanted[-1]}, "
            f"and here is {', '.join(sorted(found - set(wanted)))}"
        )
    return [folder / name for name in wanted]


def has_features(path: Path) -> bool:
    """Whether there are features at a path, in a file or in a folder of sources."""
    # os.path, as a name may be longer than file systems take
    return is_file(path) or (os.path.isdir(path) and any(path.glob(f"{_SOURCE}.npy")))


def count_sources(path: str | PathLike) -> int:
    """S, the separated sources in the features of a video; 1 if they are not separated.

    Raises:
        ValueError: the features cannot be read; the message names the file.
    """
    if Path(path).is_dir():
        return len(source_files(Path(path), ".npy"))
    shape = open_features(path).shape
    return shape[1] if len(shape) == 3 else 1


def open_features(path: str | PathLike) -> np.ndarray:
    """The features of a video, (T, A) or (T, S, A); nothing of a file is read yet, of a folder all.

    Raises:
        ValueError: there are none, they are no numbers, or the sources differ in shape; the message names the
            file.
    """
    if not Path(path).is_dir():
        return _open_file(path)
    files = source_files(Path(path), ".npy")
    arrays = [_open_file(file) for file in files]
    for file, array in zip(files, arrays, strict=True):
        if array.ndim != 2 or array.shape != arrays[0].shape:
            raise ValueError(
                f"{file}: shape {array.shape}; each source has one row a frame, and {files[0].name} has the "
                f"shape {arrays[0].shape}"
            )
    return np.stack(arrays, axis=1)


def _open_file(path: str | PathLike) -> np.memmap:
    try:
        features = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # damaged bytes can raise anything
        raise ValueError(f"{path}: no array can be read: {error}") from error
    if features.dtype.kind not in "fiu":
        raise ValueError(f"{path}: {features.dtype} in it, not numbers")
    return features


def read_provenance(path: str | PathLike) -> Provenance | None:
    """How the features of a video were made; None if the file, or all of a folder's, do not say.

    Raises:
        ValueError: a file cannot be read, or the sources were made differently; the message names it.
    """
    if not Path(path).is_dir():
        return _read_provenance(path)
    made = [_read_provenance(file) for file in source_files(Path(path), ".npy")]
    if len({maker and maker.recipe for maker in made}) > 1:
        raise ValueError(f"{path}: its sources were not made alike; make them anew by tools/prepare_audio.py")
    return made[0]


def _read_provenance(path: str | PathLike) -> Provenance | None:
    features = _open_file(path)
    with Path(path).open("rb") as file:
        file.seek(features.offset + features.nbytes)
        behind = file.read()
    if not behind:
        return None
    try:
        content = json.loads(behind)[_KEY]
        return Provenance(**{**content, "silence": tuple(content["silence"])})
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path}: how it was made cannot be read behind its array ({error!r}); make it anew"
        ) from error


def write_features(path: Path, features: np.ndarray, provenance: Provenance) -> None:
    """Write a file of features that says how they were made; it is whole or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as unfinished, unfinished.open("wb") as file:
        np.save(file, features)
        file.write(json.dumps({_KEY: asdict(provenance)}).encode())
