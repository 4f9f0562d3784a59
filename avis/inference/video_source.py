"""Videos to predict on: a video file, or a folder of frames with a WAV."""

import logging
import math
import os
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
from avis.media.inputs import VIDEO_SUFFIXES, frames_in, is_stray, visible_files
from avis.media.pictures import read_pictures
from avis.media.shown import Shown, at_rate, clip, frame_step, repeat_long, resample, sample
from avis.media.video import decode_video, find_track, shown_pictures, video_seconds

logger = logging.getLogger(__name__)

# Names that would fill more gaps than this, and far more than there are pictures, do not count frames.
_MANY_GAPS = 1000


@dataclass(frozen=True)
class VideoSource:
    """A video, or a part of one, whose frames are decoded when they are asked for, each time anew.

    Attributes:
        name: the file's name without suffix, or the folder's; of a link its own.
        fps: frames per second of `frames`.
        audio_file: the file that holds the sound; None for a silent video.
        frames: gives the frames in order, RGB uint8 (H, W, 3).
        shown: gives all pictures of the video with their times, or, for a number, so many a second. A picture
            that is shown for longer than a frame of `frames` comes again with each of them.
        seconds: how long the part lasts, about; None where the file does not say.
        audio_track: of the audio file's tracks, counted from 0; None for the first that is not silent.
        start: second of the video at which the part begins.
        end: second at which it ends; None: with the video.
    """

    name: str
    fps: float
    audio_file: str | None
    frames: Callable[[], Iterator[np.ndarray]]
    shown: Callable[[float | None], Iterator[Shown[np.ndarray]]]
    seconds: float | None
    audio_track: int | None = None
    start: float = 0.0
    end: float | None = None


def open_video(
    path: str | Path,
    fps: float,
    audio_track: int | None = None,
    start: float = 0.0,
    end: float | None = None,
) -> VideoSource:
    """Open a video file, or a folder of frames, or a part of it.

    A folder holds pictures in the order of their names (numbers count as numbers) and may hold one WAV.
    Numbers are time: where some are missing, the picture before stays. The WAV of AVISeg's layout,
    ``../../WAVAudios/<folder>.wav``, is found as well. Hidden files and covers are no part of a folder. A
    video without sound counts as silent, with a warning.

    Args:
        path: of the file or folder.
        fps: frames per second to decode, or of the folder's pictures.
        audio_track: of several audio tracks, counted from 0; None for the first that is not silent.
        start: where the part begins, in seconds.
        end: where it ends; None: with the video.

    Raises:
        MediaError: there is no such file, it cannot be read, is a single picture, has no such track, or a
            folder holds no pictures, two of one number, or several WAVs, or ends before `start`.
    """
    path = Path(os.path.abspath(path))  # a link keeps its own name
    open_any = _open_folder if path.is_dir() else _open_file
    source = open_any(path, fps, start, end)
    has_sound = source.audio_file is not None and find_track(source.audio_file, audio_track) is not None
    if not has_sound:
        logger.warning("%s has no sound: it counts as silent", path)
    audio_file = source.audio_file if has_sound else None
    return replace(source, audio_file=audio_file, audio_track=audio_track, start=start, end=end)


def _open_file(path: Path, fps: float, start: float, end: float | None) -> VideoSource:
    if is_stray(path):
        raise MediaError(f"{path} is no video: give a video, or the folder that holds the frames of one")
    whole = video_seconds(path)
    seconds = end if whole is None else min(whole, end or whole)
    return VideoSource(
        path.stem,
        fps,
        str(path),
        partial(decode_video, path, fps, start, end),
        partial(_shown_of_file, path, fps, start, end),
        None if seconds is None else seconds - start,
    )


def _shown_of_file(
    path: Path, fps: float, start: float, end: float | None, shown_fps: float | None = None
) -> Iterator[Shown[np.ndarray]]:
    pictures = shown_pictures(path, start, end, shown_fps)
    return repeat_long(pictures, frame_step(fps)) if shown_fps is None else pictures


def _open_folder(path: Path, fps: float, start: float, end: float | None) -> VideoSource:
    files = visible_files(path)
    pictures = frames_in(files)
    if not pictures:
        raise MediaError(f"{path}: {_what_lacks(path, files)}")
    frames = list(at_rate(_without_gaps(pictures, path), fps))
    if frames[-1].end <= start:
        raise MediaError(f"{path}: the frames end at {float(frames[-1].end):.2f} s, before {start:g} s")
    return VideoSource(
        path.name,
        fps,
        _find_wav(path, files),
        partial(_sampled, frames, fps, start, end),
        partial(_shown_of_folder, frames, start, end),
        min(float(frames[-1].end), end or math.inf) - start,
    )


def _what_lacks(folder: Path, files: list[Path]) -> str:
    """What is said of a folder that is not of frames."""
    videos = sorted(file.name for file in files if file.suffix.lower() in VIDEO_SUFFIXES)
    if videos:
        return f"a folder of videos ({videos[0]} …) and not of frames: open them one by one"
    has_folders = any(entry.is_dir() for entry in folder.iterdir())
    hint = f"; '{folder}/*' stands for what its folders hold" if has_folders else ""
    return f"the folder holds no video and no pictures (.jpg, .png, or another format of Pillow's){hint}"


def _sampled(frames: list[Shown[Path]], fps: float, start: float, end: float | None) -> Iterator[np.ndarray]:
    return read_pictures([file for file, _ in sample(frames, fps, start, end)])


def _shown_of_folder(
    frames: list[Shown[Path]], start: float, end: float | None, shown_fps: float | None = None
) -> Iterator[Shown[np.ndarray]]:
    part = list(clip(frames, start, end) if shown_fps is None else resample(frames, shown_fps, start, end))
    pictures = read_pictures([file for file, _, _ in part])
    return (Shown(image, *times) for image, (_, *times) in zip(pictures, part, strict=True))


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


def _find_wav(folder: Path, files: list[Path]) -> str | None:
    candidates = [file for file in files if file.suffix.lower() == ".wav"]
    if len(candidates) > 1:
        names = ", ".join(sorted(file.name for file in candidates))
        raise MediaError(f"{folder}: the folder holds several WAV files ({names}), leave one")
    for place in (folder, folder.resolve()):
        if place.parent.name == FRAMES:
            candidates.append(sound_file(place.parents[1], place.name))
    return next((str(file) for file in candidates if is_file(file)), None)
