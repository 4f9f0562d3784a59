"""The packets and frames of media files, read by PyAV (FFmpeg), with what real recordings get wrong.

Cover art is no video. Times go on where the clock restarts or jumps. What is damaged or cut off is left out,
with a warning.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av

from avis.media.clock import SteadyClock
from avis.media.errors import MediaError, warn_once

# A step of more seconds, in which neither picture nor sound comes, is a jump of the clock (as in FFmpeg).
_JUMP_SECONDS = Fraction(10)
# Formats whose headers state how long they last; what FFmpeg says of others is an estimate.
_FORMATS_WITH_LENGTH = {"mov", "matroska", "flv", "asf"}
# Of packets that may not be needed; more are decoded, needed or not.
_MOST_HELD = 2000
# Some codings need a while after a point of entry before pictures are as they should be.
_SETTLING_SECONDS = 1
# The last packet may lack its duration, or end a little before what the header says.
_MISSING_SECONDS = Fraction(1, 2)


@contextmanager
def open_media(path: str | Path) -> Iterator[av.container.InputContainer]:
    """Open a file to read.

    Raises:
        MediaError: the file is missing or cannot be read, here or in the block.
    """
    require_file(path)
    try:
        with av.open(os.path.abspath(path)) as container:
            yield container
    except av.FFmpegError as error:
        raise MediaError(f"{path}: cannot be decoded ({error.strerror})") from error


def require_file(path: str | Path) -> None:
    """Raise a MediaError if there is no such file."""
    if not Path(path).is_file():
        raise MediaError(f"{path}: no such file")


def video_streams(container: av.container.InputContainer) -> list[av.VideoStream]:
    """The streams of moving pictures: cover art is none."""
    cover = av.stream.Disposition.attached_pic
    return [stream for stream in container.streams.video if not stream.disposition & cover]


def frame_duration(stream: av.VideoStream) -> Fraction:
    """Seconds that a frame of unknown duration is shown."""
    return 1 / (stream.average_rate or stream.base_rate or Fraction(25))


def may_restart(container: av.container.InputContainer) -> bool:
    """Whether the format lets the clock and the coding change midway, as MPEG-TS does."""
    return bool(container.format.flags & av.format.Flags.ts_discont.value)


def steady_packets(container: av.container.InputContainer, path: str | Path) -> Iterator[av.Packet]:
    """All packets of pictures and sound from here on, in the file's order, on a clock that never jumps.

    The last packet of each stream is an empty one.
    """
    pictures = video_streams(container)
    slowest = max((2 / stream.base_rate for stream in pictures if stream.base_rate), default=0)
    leader = pictures[0].index if pictures else None
    clock = SteadyClock(max(_JUMP_SECONDS, slowest), leader)
    for packet in container.demux([*pictures, *container.streams.audio]):
        if packet.dts is not None:
            _shift(packet, clock)
        if clock.breaks:
            warn_once(
                f"{path}: the clock of the recording restarts or jumps at {float(clock.breaks[0]):.1f} s; "
                "what follows is taken to go on from there"
            )
        yield packet
    if not clock.breaks:
        _warn_if_cut(container, clock.end, path)


def decoded_frames(
    container: av.container.InputContainer, stream: av.stream.Stream, path: str | Path, start: float = 0.0
) -> Iterator[av.frame.Frame]:
    """The frames of a stream from here on; those that are damaged are left out, with a warning.

    Args:
        container: an open file.
        stream: of pictures or sound.
        path: of the file, for messages.
        start: seconds after the first frame up to which pictures may be left out, to save the time.

    Raises:
        MediaError: none can be decoded.
    """
    found, failure, ahead = False, None, _Ahead(stream, start)
    own = (packet for packet in steady_packets(container, path) if packet.stream.index == stream.index)
    for packet in chain.from_iterable(map(ahead.needed, own)):
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            failure, frames = error, []
        for frame in frames:
            found = True
            ahead.begin(frame)
            yield frame
    if failure is not None and not found:
        raise MediaError(f"{path}: its {stream.type} cannot be decoded ({failure.strerror})") from failure
    if failure is not None:
        warn_once(f"{path}: parts of its {stream.type} are damaged ({failure.strerror}) and left out")


class _Ahead:
    """Of the pictures before a time, all but the first are left out that no later picture needs.

    The file is read from its beginning nevertheless: the clock may have jumped anywhere.
    """

    def __init__(self, stream: av.stream.Stream, start: float) -> None:
        self._stream, self._start = stream, start
        self._held: list[av.Packet] = []
        self._begin: Fraction | None = None
        self._is_apart = False  # from all that was decoded
        self._is_over = stream.type != "video"

    def begin(self, frame: av.frame.Frame) -> None:
        """Count seconds from a frame, if it is the first."""
        if self._begin is None and frame.pts is not None:
            self._begin = frame.pts * frame.time_base

    def needed(self, packet: av.Packet) -> list[av.Packet]:
        """The packets to decode now, when one more has come."""
        if self._is_over or self._begin is None:
            return [packet]
        time = None if packet.pts is None else packet.pts * packet.time_base - self._begin
        if time is None or time > self._start:
            self._is_over = True
            return [*self._release(), packet]
        if packet.is_keyframe and time <= self._start - _SETTLING_SECONDS:
            self._held, self._is_apart = [], True
        self._held.append(packet)
        return self._release() if len(self._held) == _MOST_HELD else []

    def _release(self) -> list[av.Packet]:
        if self._is_apart:
            self._stream.codec_context.flush_buffers()
        held, self._held, self._is_apart = self._held, [], False
        return held


def _shift(packet: av.Packet, clock: SteadyClock) -> None:
    base = packet.time_base
    shift = round(clock.shift(packet.stream.index, packet.dts * base, _duration(packet)) / base)
    if shift:
        packet.dts += shift
        packet.pts = None if packet.pts is None else packet.pts + shift


def _duration(packet: av.Packet) -> Fraction:
    if packet.duration:
        return packet.duration * packet.time_base
    return frame_duration(packet.stream) if packet.stream.type == "video" else Fraction(0)


def _warn_if_cut(container: av.container.InputContainer, end: Fraction, path: str | Path) -> None:
    """Say how much is missing of a file whose header announces more than came."""
    if not container.duration or not _FORMATS_WITH_LENGTH & set(container.format.name.split(",")):
        return
    announced = Fraction(container.duration, av.time_base)
    present = max(end - Fraction(container.start_time or 0, av.time_base), Fraction(0))
    # Decoding times end before presentation times, by up to the few frames that wait for others.
    waiting = max((2 * frame_duration(stream) for stream in video_streams(container)), default=0)
    if announced - present > _MISSING_SECONDS + waiting:
        warn_once(f"{path}: cut off: {float(present):.1f} of {float(announced):.1f} s could be read")
