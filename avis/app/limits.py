"""What the page takes: how large, how long, of which type. Whatever is refused is told in a sentence."""

import os
from dataclasses import dataclass
from pathlib import Path

import av

from avis.media.demuxing import steady_packets, video_streams
from avis.media.errors import MediaError
from avis.media.video import find_track

# What FFmpeg calls the formats that hold a video themselves. Others, such as playlists, name further files,
# which it would open.
FORMATS = (
    "apng", "asf", "avi", "flv", "gif", "matroska", "mov", "mp4", "mpeg", "mpegts", "mxf", "ogg", "webm",
)  # fmt: skip
# 4K of cinemas: a small file may hold pictures that no memory does.
MAX_PIXELS = 4096 * 2304


class Refused(Exception):
    """Something cannot be done, and the message tells the user of the page why."""


@dataclass(frozen=True)
class VideoFacts:
    """What is known of a video before it is decoded."""

    name: str
    seconds: float
    width: int
    height: int
    has_sound: bool

    def __str__(self) -> str:
        sound = "with sound" if self.has_sound else "**without sound**: the model hears silence"
        return f"{self.name}: {self.seconds:.1f} s, {self.width} × {self.height}, {sound}."


@dataclass(frozen=True)
class Limits:
    """The largest video that is taken.

    Attributes:
        max_seconds: its length.
        max_megabytes: of its file, in millions of bytes.
    """

    max_seconds: float
    max_megabytes: float

    @property
    def max_bytes(self) -> int:
        """Of a video's file."""
        return round(self.max_megabytes * 1e6)

    def __str__(self) -> str:
        return f"at most {self.max_seconds:g} s and {self.max_megabytes:g} MB"

    def check(self, path: Path) -> VideoFacts:
        """Look at a video, of which no frame is decoded.

        Raises:
            Refused: it is too large, too long, or no video.
        """
        if not path.is_file():
            raise Refused("The video is no longer there. Upload it again.")
        megabytes = path.stat().st_size / 1e6
        if megabytes > self.max_megabytes:
            raise Refused(f"The file has {megabytes:.1f} MB. This page takes {self}.")
        try:
            facts = _look_at(path)
        except MediaError as error:
            raise Refused(f"This cannot be read. {without_folder(error, path.parent)}") from error
        except av.FFmpegError as error:
            raise Refused(
                f"{path.name} is no video that can be read ({error.strerror}). MP4, MOV, WebM and MKV are."
            ) from error
        if facts.width * facts.height > MAX_PIXELS:
            raise Refused(f"The pictures have {facts.width} × {facts.height} pixels. Up to 4096 × 2304 do.")
        if facts.seconds > self.max_seconds:
            raise Refused(f"The video lasts {facts.seconds:.1f} s. This page takes {self}.")
        return facts


def without_folder(error: Exception, folder: Path) -> str:
    """The message of an error about a file, whose folder is nobody's business."""
    return str(error).replace(f"{folder}{os.sep}", "")


def _look_at(path: Path) -> VideoFacts:
    """Measure a video by its packets, as headers lack the length of recordings, and may say anything."""
    options = {"format_whitelist": ",".join(FORMATS)}
    with av.open(os.path.abspath(path), options=options) as container:
        streams = video_streams(container)
        if not streams or streams[0].codec_context is None:
            raise MediaError(f"{path}: the file holds no moving pictures")
        stream = streams[0]
        begin, end = None, 0
        for packet in steady_packets(container, path):
            if packet.stream.index == stream.index and packet.pts is not None:
                begin = packet.pts if begin is None else min(begin, packet.pts)
                end = max(end, packet.pts + (packet.duration or 0))
        if begin is None:
            raise MediaError(f"{path}: the video stream holds no frame")
        seconds = float((end - begin) * stream.time_base)
        size = stream.codec_context.width, stream.codec_context.height
    return VideoFacts(path.name, seconds, *size, find_track(path) is not None)
