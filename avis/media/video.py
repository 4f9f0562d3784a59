"""The frames of video files, and all that reads and writes videos and their sound, under one name.

Times are seconds from the first video frame.

Dimensions: H×W frames.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageOps

from avis.media.demuxing import decoded_frames, frame_duration, open_media, video_streams
from avis.media.errors import MediaError, warn_once
from avis.media.shown import Shown, clip, frame_step, resample, sample
from avis.media.sound import find_track, has_audio_stream, read_peaks, read_waveform
from avis.media.writing import read_comment, write_shown, write_video

__all__ = [
    "decode_numbered",
    "decode_video",
    "find_track",
    "has_audio_stream",
    "read_comment",
    "read_peaks",
    "read_waveform",
    "shown_pictures",
    "video_seconds",
    "write_shown",
    "write_video",
]

# A frame with its number in the file, from 0, if all are decoded.
_Numbered = tuple[int, av.VideoFrame]


def decode_video(
    path: str | Path, fps: float = 1.0, start: float = 0.0, end: float | None = None
) -> Iterator[np.ndarray]:
    """Decode the frames that a video shows at the times start, start + 1/fps, …

    Frames are picked by presentation time, so variable frame rates keep their pace; where the clock restarts
    or jumps, time goes on. Frames are turned, and their pixels made square, as the file says that they are to
    be shown. Frames of another size than the first are fitted into it, with black bars.

    Args:
        path: a video file.
        fps: frames per second wanted; more than the video has repeats its frames.
        start: the time of the first frame, in seconds.
        end: no frame is of this time or later; None: the end of the video.

    Yields:
        RGB uint8 (H, W, 3).

    Raises:
        MediaError: the file is missing, cannot be decoded, holds no video, or ends before `start`.
    """
    frame_step(fps)  # before the file is opened
    with _open_frames(path, start) as (frames, screen):
        for (_, frame), time in sample(frames, fps, start, end):
            yield screen.show(frame, time)


def decode_numbered(path: str | Path, fps: float = 1.0) -> Iterator[tuple[int, np.ndarray]]:
    """What `decode_video` gives, each picture with the number, from 0, of the video's frame that it is.

    Raises:
        MediaError: see `decode_video`.
    """
    frame_step(fps)
    with _open_frames(path, 0) as (frames, screen):
        for (number, frame), time in sample(frames, fps):
            yield number, screen.show(frame, time)


def shown_pictures(
    path: str | Path, start: float = 0.0, end: float | None = None, fps: float | None = None
) -> Iterator[Shown[np.ndarray]]:
    """Decode the frames of a video, or of a part of it, each with the time for which it is shown.

    Args:
        path: a video file.
        start: where the part begins, in seconds; times count from there.
        end: where it ends; None: with the video.
        fps: frames per second; None: every frame, for its own time.

    Yields:
        RGB uint8 (H, W, 3), as `decode_video` gives them.

    Raises:
        MediaError: see `decode_video`.
    """
    with _open_frames(path, start) as (frames, screen):
        part = clip(frames, start, end) if fps is None else resample(frames, fps, start, end)
        for (_, frame), begin, stop in part:
            yield Shown(screen.show(frame, begin), begin, stop)


def video_seconds(path: str | Path) -> float | None:
    """How long a video lasts by its header; None where that does not say.

    Raises:
        MediaError: the file is missing or cannot be read.
    """
    with open_media(path) as container:
        return container.duration / av.time_base if container.duration else None


class _Screen:
    """Makes pictures of frames as they are to be shown, all of the first one's size."""

    def __init__(self, path: str | Path, pixel_aspect: Fraction | None):
        self._path = path
        self._pixel_aspect = pixel_aspect or Fraction(1)  # 0: unknown
        self._size: tuple[int, int] | None = None
        self._changes = False

    def show(self, frame: av.VideoFrame, time: Fraction) -> np.ndarray:
        """The picture of a frame, RGB uint8 (H, W, 3); `time` is for the warning."""
        width = max(round(frame.width * self._pixel_aspect), 1)
        # Cameras store the way they were held as a rotation.
        quarter_turns = round(frame.rotation / 90)
        picture = np.rot90(frame.to_ndarray(format="rgb24", width=width, height=frame.height), quarter_turns)
        size = picture.shape[1], picture.shape[0]
        self._size = self._size or size
        if size == self._size:
            return np.ascontiguousarray(picture)
        self._warn(size, time)
        return np.asarray(ImageOps.pad(Image.fromarray(picture), self._size)).copy()

    def _warn(self, size: tuple[int, int], time: Fraction) -> None:
        if self._changes:
            return
        self._changes = True
        before, after = (f"{height}×{width}" for width, height in (self._size, size))
        warn_once(
            f"{self._path}: the frames change their size from {before} to {after} at {float(time):.1f} s; "
            f"all are fitted into {before}"
        )


@contextmanager
def _open_frames(path: str | Path, start: float) -> Iterator[tuple[Iterator[Shown[_Numbered]], _Screen]]:
    """The frames of a video file, and what makes pictures of them."""
    with open_media(path) as container:
        stream = _video_stream(container, path)
        yield _shown_frames(container, stream, path, start), _Screen(path, stream.sample_aspect_ratio)


def _shown_frames(
    container: av.container.InputContainer, stream: av.VideoStream, path: str | Path, start: float
) -> Iterator[Shown[_Numbered]]:
    """The frames that are shown, before `start` not all of them; an error if there are none after it."""
    shown, begin, time = None, Fraction(0), Fraction(0)
    for number, (frame, time) in enumerate(_timed_frames(container, stream, path, start)):
        if shown is not None and time > begin:
            yield Shown(shown, begin, time)
        shown, begin = (number, frame), max(begin, time)
    if shown is None:
        raise MediaError(f"{path}: the video stream holds no frame")
    end = time + _duration(shown[1], stream)
    if end <= start:
        raise MediaError(f"{path}: the video ends at {float(end):.2f} s, before its part from {start:g} s on")
    if end > begin:
        yield Shown(shown, begin, end)


def _video_stream(container: av.container.InputContainer, path: str | Path) -> av.VideoStream:
    streams = video_streams(container)
    if not streams:
        but = ", only cover art" if container.streams.video else ""
        raise MediaError(f"{path}: the file has no video stream{but}")
    if streams[0].codec_context is None:
        raise MediaError(f"{path}: there is no decoder for its video")
    streams[0].thread_type = "AUTO"
    return streams[0]


def _timed_frames(
    container: av.container.InputContainer, stream: av.VideoStream, path: str | Path, until: float
) -> Iterator[tuple[av.VideoFrame, Fraction]]:
    """Frames with their presentation times, the first at 0; those without one follow their predecessors."""
    first, following = None, Fraction(0)
    for frame in decoded_frames(container, stream, path, until):
        if frame.pts is None:
            start = following
        else:
            first = frame.pts if first is None else first
            start = (frame.pts - first) * frame.time_base
        yield frame, start
        following = start + _duration(frame, stream)


def _duration(frame: av.VideoFrame, stream: av.VideoStream) -> Fraction:
    if frame.duration:
        return frame.duration * frame.time_base
    return frame_duration(stream)
