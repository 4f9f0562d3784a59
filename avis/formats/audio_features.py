"""Files of audio features: a NumPy array, and behind it who made it.

A file is an ordinary .npy, float (T, A) or (T, S, A), which every program reads. Behind the array's bytes,
where NumPy does not look, our own files say in JSON how they were made. So each file carries its provenance,
and a folder may hold files of several makers. AVISeg's files say nothing.

Dimensions: T frames, S separated sources, A audio channels.
"""

import json
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from avis.files import replacing

_KEY = "avis_audio_features"


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


def open_features(path: str | PathLike) -> np.memmap:
    """The array in a file of features, of which nothing is read yet.

    Raises:
        ValueError: there is none, or it holds no numbers; the message names the file.
    """
    try:
        features = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # damaged bytes can raise anything
        raise ValueError(f"{path}: no array can be read: {error}") from error
    if features.dtype.kind not in "fiu":
        raise ValueError(f"{path}: {features.dtype} in it, not numbers")
    return features


def read_provenance(path: str | PathLike) -> Provenance | None:
    """How the features in a file were made; None if the file does not say.

    Raises:
        ValueError: the file cannot be read; the message names it.
    """
    features = open_features(path)
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
