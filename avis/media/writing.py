"""Videos written as H.264 with AAC sound, as browsers play them, by PyAV (FFmpeg).

Dimensions: H×W frames, C channels, n samples.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from fractions import Fraction
from itertools import chain
from math import lcm
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from avis.files import replacing
from avis.media.demuxing import may_restart, open_media, steady_packets
from avis.media.errors import MediaError
from avis.media.shown import Shown, at_rate, exact
from avis.media.sound import find_track, origin, sound_blocks

# Containers that hold H.264 with AAC, and their options: the index first, so that a player starts at once.
_CONTAINERS = {".mp4": {"movflags": "+faststart"}, ".mov": {"movflags": "+faststart"}, ".mkv": {}}
# Ticks of a second: times of pictures are rounded to them. The usual ones fit all usual rates.
_USUAL_TICKS, _MAX_TICKS = 90_000, 10_000_000
# Sample rate of sound that is encoded again, in Hz.
_AAC_RATE = 44100
# Encoders put no more ahead of a sound.
_AHEAD_SECONDS = Fraction(3, 10)
# What FFmpeg calls the colours of BT.709 (AVCOL_SPC_BT709).
_BT709 = 1


def write_video(
    path: str | Path,
    frames: Iterable[np.ndarray],
    fps: float,
    audio_from: str | Path | None = None,
    audio_track: int | None = None,
    audio_start: float = 0.0,
    comment: str = "",
) -> None:
    """Write frames as an H.264 video, `fps` a second, with the sound of another file; see `write_shown`."""
    write_shown(path, at_rate(frames, fps), audio_from, audio_track, audio_start, comment)


def write_shown(
    path: str | Path,
    shown: Iterable[Shown[np.ndarray]],
    audio_from: str | Path | None = None,
    audio_track: int | None = None,
    audio_start: float = 0.0,
    comment: str = "",
) -> None:
    """Write pictures as an H.264 video, each for its own time, with the sound of another file.

    AAC sound is copied unchanged, other sound encoded as AAC; it ends with the video. Odd sizes are made even
    by repeating the last row or column. Colours are BT.709, and the file says so. The file appears only when
    it is complete.

    Args:
        path: the file to write: .mp4, .mov or .mkv.
        shown: RGB uint8 (H, W, 3), all of one size, one after the other from 0 s on.
        audio_from: a file whose sound accompanies the pictures; None, or one without sound: a silent video.
        audio_track: of several, counted from 0; None for the first that is not silent.
        audio_start: second of that sound at which the first picture is.
        comment: a text within the file.

    Raises:
        MediaError: there is no picture, the sizes differ, or the file cannot be written; `audio_from` cannot
            be read.
    """
    path = Path(path)
    if path.suffix.lower() not in _CONTAINERS:
        raise MediaError(f"{path}: the name of a video ends in one of {tuple(_CONTAINERS)}")
    if not path.parent.is_dir():
        raise MediaError(f"{path}: there is no folder {path.parent}")
    shown = _of_one_size(shown, path)
    track = None if audio_from is None else find_track(audio_from, audio_track)
    try:
        with (
            replacing(path) as unfinished,
            nullcontext() if track is None else av.open(os.path.abspath(audio_from)) as source,
        ):
            stream = source and source.streams.audio[track]
            _encode(unfinished, shown, stream, exact(audio_start), comment)
    except av.FFmpegError as error:
        sound = f" with the sound of {audio_from}" if audio_from else ""
        raise MediaError(f"{path}: cannot be written{sound} ({error.strerror})") from error


def read_comment(path: str | Path) -> str:
    """Read the comment of a video file; "" where it has none.

    Raises:
        MediaError: the file is missing or cannot be read.
    """
    with open_media(path) as container:
        comments = [text for key, text in container.metadata.items() if key.lower() == "comment"]
        return comments[0] if comments else ""


def _of_one_size(shown: Iterable[Shown[np.ndarray]], path: Path) -> Iterator[Shown[np.ndarray]]:
    """The same pictures; an error if there are none or their sizes differ."""
    shape = None
    for index, each in enumerate(shown):
        shape = shape or each.content.shape
        if each.content.shape != shape:
            raise MediaError(f"{path}: frame {index} is {each.content.shape}, frame 0 is {shape}")
        yield each
    if shape is None:
        raise MediaError(f"{path}: there are no frames to write")


def _encode(
    path: Path,
    shown: Iterator[Shown[np.ndarray]],
    sound: av.AudioStream | None,
    sound_start: Fraction,
    comment: str,
) -> None:
    first = next(shown)
    # FFmpeg takes "a:b" for a protocol.
    with av.open(os.path.abspath(path), "w", options=_CONTAINERS[path.suffix.lower()]) as output:
        output.metadata["comment"] = comment
        pictures = _PictureStream(output, first)
        packets = _sound_packets(sound, output, sound_start) if sound else iter(())
        pending = next(packets, None)
        for each in chain([first], shown):
            output.mux(pictures.encode(each))
            while pending is not None and pending.pts * pending.time_base < each.end:
                output.mux(pending)
                pending = next(packets, None)
        output.mux(pictures.finish())


class _PictureStream:
    """A new stream of H.264, whose pictures are shown for as long as each is said to be."""

    def __init__(self, output: av.container.OutputContainer, first: Shown[np.ndarray]) -> None:
        """Add a stream for pictures like the first."""
        self._tick = Fraction(1, _ticks(first.end))
        self._durations: dict[int, int] = {}
        self._stream = _add_video_stream(output, first.content.shape, 1 / (first.end - first.begin))
        self._stream.codec_context.time_base = self._tick

    def encode(self, shown: Shown[np.ndarray]) -> list[av.Packet]:
        """Take the next picture; the packets that are ready. One of less than a tick is left out."""
        begin, end = (round(time / self._tick) for time in (shown.begin, shown.end))
        if begin == end:
            return []
        frame = _to_video_frame(shown.content)
        frame.pts, frame.time_base = begin, self._tick
        self._durations[begin] = end - begin
        return self._timed(self._stream.encode(frame))

    def finish(self) -> list[av.Packet]:
        """The packets that are left."""
        return self._timed(self._stream.encode(None))

    def _timed(self, packets: list[av.Packet]) -> list[av.Packet]:
        """The packets with their durations; by itself the last would last as long as the one before."""
        for packet in packets:
            packet.duration = self._durations.pop(packet.pts)
        return packets


def _ticks(time: Fraction) -> int:
    """Ticks of a second, of which the time and its multiples, and most other times, are whole numbers."""
    ticks = lcm(time.denominator, _USUAL_TICKS)
    return ticks if ticks <= _MAX_TICKS else _USUAL_TICKS


def _add_video_stream(
    output: av.container.OutputContainer, shape: tuple[int, ...], rate: Fraction
) -> av.VideoStream:
    rate = rate.limit_denominator(100_000)
    # Without B-frames: the file's length follows decoding times, which with them are not those of pictures.
    options = {"crf": "20", "preset": "veryfast", "bf": "0"}
    stream = output.add_stream("libx264", rate=rate, options=options)
    stream.pix_fmt = "yuv420p"
    stream.height, stream.width = (size + size % 2 for size in shape[:2])
    # Players take BT.709 for large pictures, BT.601 for small ones, unless they are told.
    stream.codec_context.colorspace, stream.codec_context.color_range = _BT709, ColorRange.MPEG
    stream.codec_context.color_primaries, stream.codec_context.color_trc = (
        ColorPrimaries.BT709,
        ColorTrc.BT709,
    )
    return stream


def _to_video_frame(image: np.ndarray) -> av.VideoFrame:
    height, width = image.shape[:2]
    even = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
    return frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)


def _sound_packets(
    stream: av.AudioStream, output: av.container.OutputContainer, start: Fraction
) -> Iterator[av.Packet]:
    """The packets of a sound from second `start` on, for a new stream of `output`, on a clock from 0."""
    begin = origin(stream.container, stream) + start
    coding = stream.codec_context.name.removesuffix("float")
    if coding == "aac" and not may_restart(stream.container):
        # What the encoder puts ahead of a sound stays where nothing is cut off.
        ahead = 0 if start else _AHEAD_SECONDS
        packets = _copied_packets(stream, output, begin)
        return (packet for packet in packets if packet.pts * packet.time_base >= -ahead)
    return _encoded_packets(stream, output, begin)


def _copied_packets(
    stream: av.AudioStream, output: av.container.OutputContainer, begin: Fraction
) -> Iterator[av.Packet]:
    target, last = output.add_stream_from_template(stream), None
    for packet in steady_packets(stream.container, stream.container.name):
        if packet.stream.index != stream.index or packet.dts is None:  # the empty packet that ends a stream
            continue
        shift = round(begin / packet.time_base)
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        if last is None or packet.dts > last:  # players want every packet later than the one before
            last, packet.stream = packet.dts, target
            yield packet


def _encoded_packets(
    stream: av.AudioStream, output: av.container.OutputContainer, begin: Fraction
) -> Iterator[av.Packet]:
    layout = "mono" if stream.codec_context.channels == 1 else "stereo"
    target = output.add_stream("aac", rate=_AAC_RATE, layout=layout)
    samples = 0
    for block in sound_blocks(stream.container, stream, stream.container.name, begin, _AAC_RATE, layout):
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = _AAC_RATE, samples, Fraction(1, _AAC_RATE)
        samples += frame.samples
        yield from target.encode(frame)
    yield from target.encode(None)
