"""Videos to predict on: a video file, or a folder of frames with a WAV."""

import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from math import gcd
from pathlib import Path

import numpy as np

from avis.files import is_file
from avis.formats.aviseg import FRAMES, sound_file
from avis.media.errors import MediaError
from avis.media.pictures import picture_suffixes, read_pictures
from avis.media.video import decode_video, find_track

logger = logging.getLogger(__name__)

# Names that would fill more gaps than this, and far more than there are pictures, do not count frames.
_MANY_GAPS = 1000


@dataclass(frozen=True)
class VideoSource:
    """A video whose frames are decoded when they are asked for, each time anew.

    Attributes:
        name: the file's name without suffix, or the folder's.
        fps: frames per second of `frames`.
        audio_file: the file that holds the sound; None for a silent video.
        frames: gives the frames in order, RGB uint8 (H, W, 3).
        audio_track: of the audio file's tracks, counted from 0; None for the first that is not silent.
    """

    name: str
    fps: float
    audio_file: str | None
    frames: Callable[[], Iterator[np.ndarray]]
    audio_track: int | None = None


def open_video(path: str | Path, fps: float, audio_track: int | None = None) -> VideoSource:
    """Open a video file, or a folder of frames.

    A folder holds pictures in the order of their names (numbers count as numbers) and may hold one WAV.
    Numbers are time: where some are missing, the picture before stays. The WAV of AVISeg's layout,
    ``../../WAVAudios/<folder>.wav``, is found as well. Hidden files are no part of a folder. A video without
    sound counts as silent, with a warning.

    Args:
        path: of the file or folder.
        fps: frames per second to decode, or of the folder's pictures.
        audio_track: of several audio tracks, counted from 0; None for the first that is not silent.

    Raises:
        MediaError: there is no such file, it cannot be read, has no such track, or a folder holds no
            pictures, two of one number, or several WAVs.
    """
    path = Path(path).resolve()
    source = _open_folder(path, fps) if path.is_dir() else _open_file(path, fps)
    has_sound = source.audio_file is not None and find_track(source.audio_file, audio_track) is not None
    if not has_sound:
        logger.warning("%s has no sound: it counts as silent", path)
    return replace(source, audio_file=source.audio_file if has_sound else None, audio_track=audio_track)


def _open_file(path: Path, fps: float) -> VideoSource:
    return VideoSource(path.stem, fps, str(path), partial(decode_video, path, fps))


def _open_folder(path: Path, fps: float) -> VideoSource:
    files = [file for file in path.iterdir() if file.is_file() and not file.name.startswith(".")]
    pictures = [file for file in files if file.suffix.lower() in picture_suffixes()]
    if not pictures:
        raise MediaError(f"{path}: the folder holds no pictures (.jpg, .png, or another format of Pillow's)")
    pictures.sort(key=lambda file: _natural_key(file.name))
    frames = partial(read_pictures, _without_gaps(pictures, path))
    return VideoSource(path.name, fps, _find_wav(path, files), frames)


def _without_gaps(pictures: list[Path], folder: Path) -> list[Path]:
    """The picture of each frame: where numbers are missing, the picture before stays.

    Numbers may go up in steps, such as 0, 5, 10.
    """
    numbers = _numbers(pictures, folder)
    step = gcd(*(number - numbers[0] for number in numbers)) or 1
    times = [(number - numbers[0]) // step for number in numbers]
    missing = times[-1] + 1 - len(pictures)
    if not missing:
        return pictures
    if missing > max(_MANY_GAPS, 10 * len(pictures)):
        logger.warning("%s: the numbers of the pictures are no count of frames: they only order them", folder)
        return pictures
    lengths = [after - before for before, after in pairwise(times)] + [1]
    first = next(file.name for file, length in zip(pictures, lengths, strict=True) if length > 1)
    text = "%s: %d of %d frames are missing, the first after %s; the picture before stays"
    logger.warning(text, folder, missing, times[-1] + 1, first)
    return [picture for picture, length in zip(pictures, lengths, strict=True) for _ in range(length)]


def _numbers(pictures: list[Path], folder: Path) -> list[int]:
    """The numbers in the names; 0, 1, 2, … where the names differ in more than one number."""
    parts = [re.fullmatch(r"(.*?)(\d*)(\D*)", file.stem).groups() for file in pictures]
    if len({(before, after) for before, _, after in parts}) > 1 or not all(digits for _, digits, _ in parts):
        return list(range(len(pictures)))
    numbers = [int(digits) for _, digits, _ in parts]
    for index, (one, other) in enumerate(pairwise(numbers)):
        if one == other:
            names = f"{pictures[index].name} and {pictures[index + 1].name}"
            raise MediaError(f"{folder}: {names} have the same number, leave one")
    return numbers


def _natural_key(name: str) -> list[tuple[int, str]]:
    """Sorts 9.jpg before 10.jpg."""
    return [(int(digits or 0), text) for digits, text in re.findall(r"(\d+)|(\D+)", name)]


def _find_wav(folder: Path, files: list[Path]) -> str | None:
    candidates = [file for file in files if file.suffix.lower() == ".wav"]
    if len(candidates) > 1:
        names = ", ".join(sorted(file.name for file in candidates))
        raise MediaError(f"{folder}: the folder holds several WAV files ({names}), leave one")
    if folder.parent.name == FRAMES:
        candidates.append(sound_file(folder.parents[1], folder.name))
    return next((str(file) for file in candidates if is_file(file)), None)
