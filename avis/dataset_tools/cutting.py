"""Videos cut into the frames and the sound of a data set.

Frame t is what the video shows at t/FPS, as prediction has it; the sound begins with frame 0.

Dimensions: T frames, N samples.
"""

import math
import shutil
import wave
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np

from avis.files import replacing
from avis.media.demuxing import open_media, video_streams
from avis.media.errors import MediaError
from avis.media.sound import has_audio_stream, read_waveform
from avis.media.video import decode_numbered

_JPEG_QUALITY = 95
_LARGEST = 2**15 - 1  # of 16-bit samples


class Cut(NamedTuple):
    """The frames cut of a video.

    Attributes:
        names: of the T files.
        numbers: of the video's frames, from 0, that they show.
        total: frames of the video.
        size: (H, W).
    """

    names: list[str]
    numbers: list[int]
    total: int
    size: tuple[int, int]


def cut_frames(path: Path, folder: Path, fps: float, advance: Callable[[], None]) -> Cut:
    """Write the T frames of a video as JPEG; `advance` is called after each.

    Raises:
        MediaError: the video cannot be read.
        OSError: a frame cannot be written.
    """
    names, numbers, size = [], [], (0, 0)
    for index, (number, picture) in enumerate(decode_numbered(path, fps)):
        size = picture.shape[:2]
        if max(size) > 2**16 - 1:
            raise MediaError(f"{path}: frames of {size[0]}×{size[1]} are too large for JPEG")
        names.append(f"{index:05d}.jpg")
        numbers.append(number)
        encoded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
        (folder / names[-1]).write_bytes(encoded)
        advance()
    return Cut(names, numbers, max(_count_frames(path), numbers[-1] + 1), size)


def expected_frames(path: Path, fps: float) -> int:
    """About how many frames a video will be cut into, for a progress bar; 1 if its header does not say.

    Raises:
        MediaError: it cannot be read, or has no pictures.
    """
    with open_media(path) as container:
        if not video_streams(container):
            raise MediaError(f"{path}: the file has no video stream")
        return max(1, math.ceil((container.duration or 0) / av.time_base * fps))


def write_sound(source: Path, target: Path, seconds: float) -> str:
    """Write the sound of a media file as a WAV of at least so many seconds; a WAV long enough is copied.

    Returns:
        "" if all is well, "none" if the file has no sound and so nothing is written, or "padded" if it ends
        before and silence follows.

    Raises:
        MediaError: it cannot be read.
    """
    if not has_audio_stream(source):
        return "none"
    samples, rate = read_waveform(source)
    lacking = math.ceil(seconds * rate) - len(samples)
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix.lower() == ".wav" and lacking <= 0:
        with replacing(target) as unfinished:
            shutil.copyfile(source, unfinished)
        return ""
    _write_wav(target, np.pad(samples, (0, max(lacking, 0))), rate)
    # Sound codecs have blocks, which seldom end with the picture.
    return "padded" if lacking > 0.1 * rate else ""


def _count_frames(path: Path) -> int:
    """How many frames a video has, without decoding them."""
    with open_media(path) as container:
        stream = video_streams(container)[0]
        return sum(1 for packet in container.demux(stream) if packet.size)


def _write_wav(path: Path, samples: np.ndarray, rate: int) -> None:
    """Write samples float (N,) as 16 bits."""
    with replacing(path) as unfinished, wave.open(str(unfinished), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(samples, -1, 1) * _LARGEST).round().astype("<i2").tobytes())
