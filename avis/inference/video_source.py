"""Videos to predict on: a video file, or a folder of frames with a WAV."""

import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from avis.files import is_file
from avis.formats.aviseg import FRAMES, sound_file
from avis.media.errors import MediaError
from avis.media.pictures import read_pictures
from avis.media.video import decode_video, has_audio_stream

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class VideoSource:
    """A video whose frames are decoded when they are asked for, each time anew.

    Attributes:
        name: the file's name without suffix, or the folder's.
        fps: frames per second of `frames`.
        audio_file: the file that holds the sound; None for a silent video.
        frames: gives the frames in order, RGB uint8 (H, W, 3).
    """

    name: str
    fps: float
    audio_file: str | None
    frames: Callable[[], Iterator[np.ndarray]]


def open_video(path: str | Path, fps: float) -> VideoSource:
    """Open a video file, or a folder of frames.

    A folder holds pictures in the order of their names (numbers count as numbers) and may hold one WAV. The
    WAV of AVISeg's layout, ``../../WAVAudios/<folder>.wav``, is found as well. A video without sound counts
    as silent, with a warning.

    Args:
        path: of the file or folder.
        fps: frames per second to decode, or of the folder's pictures.

    Raises:
        MediaError: there is no such file, it cannot be read, or a folder holds no pictures or several WAVs.
    """
    path = Path(path).resolve()
    source = _open_folder(path, fps) if path.is_dir() else _open_file(path, fps)
    if source.audio_file is None:
        logger.warning("%s has no sound: it counts as silent", path)
    return source


def _open_file(path: Path, fps: float) -> VideoSource:
    audio_file = str(path) if has_audio_stream(path) else None
    return VideoSource(path.stem, fps, audio_file, partial(decode_video, path, fps))


def _open_folder(path: Path, fps: float) -> VideoSource:
    pictures = [file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES]
    if not pictures:
        raise MediaError(f"{path}: the folder holds no pictures ({', '.join(IMAGE_SUFFIXES)})")
    pictures.sort(key=lambda file: _natural_key(file.name))
    return VideoSource(path.name, fps, _find_wav(path), partial(read_pictures, pictures))


def _natural_key(name: str) -> list[tuple[int, str]]:
    """Sorts 9.jpg before 10.jpg."""
    return [(int(digits or 0), text) for digits, text in re.findall(r"(\d+)|(\D+)", name)]


def _find_wav(folder: Path) -> str | None:
    candidates = [file for file in folder.iterdir() if file.suffix.lower() == ".wav"]
    if len(candidates) > 1:
        names = ", ".join(sorted(file.name for file in candidates))
        raise MediaError(f"{folder}: the folder holds several WAV files ({names}), leave one")
    if folder.parent.name == FRAMES:
        candidates.append(sound_file(folder.parents[1], folder.name))
    return next((str(file) for file in candidates if is_file(file)), None)
