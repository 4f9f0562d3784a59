"""Video and sound files, read and written by PyAV (FFmpeg).

Times are seconds from the first video frame, or from the first sample of a file without pictures.

Dimensions: H×W frames, N samples.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np

from avis.files import replacing
from avis.media.errors import MediaError
from avis.media.wav import WavSamples, find_samples

# Sound codecs that go into an mp4 as they are; others are encoded again.
_COPIED_CODECS = ("aac", "mp3")
# Containers that hold H.264 with AAC.
_VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv")
# Sample rate of sound that is encoded again, in Hz.
_AAC_RATE = 44100
# Sound decoded ahead of the wanted start: compressed codecs need a block before they give the true signal.
_PREROLL_SECONDS = 0.2


def decode_video(path: str | Path, fps: float = 1.0) -> Iterator[np.ndarray]:
    """Decode the frames that a video shows at the times 0, 1/fps, 2/fps, …

    Frames are picked by presentation time, so variable frame rates keep their pace, and turned as the file
    says that they are to be shown.

    Args:
        path: a video file.
        fps: frames per second wanted; more than the video has repeats its frames.

    Yields:
        RGB uint8 (H, W, 3).

    Raises:
        MediaError: the file is missing, cannot be decoded, or holds no video.
    """
    if fps <= 0:
        raise ValueError(f"fps must be positive, got {fps}")
    step = 1 / Fraction(fps).limit_denominator(100_000)
    with _open(path) as container:
        stream = _first_stream(container, "video", path)
        stream.thread_type = "AUTO"
        wanted, shown = Fraction(0), None
        for frame, start in _timed_frames(container, stream):
            while shown is not None and wanted < start:
                yield _to_rgb(shown)
                wanted += step
            shown = frame
        if shown is None:
            raise MediaError(f"{path}: the video stream holds no frame")
        end = start + _duration(shown, stream)
        while wanted < end:
            yield _to_rgb(shown)
            wanted += step


def has_audio_stream(path: str | Path) -> bool:
    """Whether a media file has sound.

    Raises:
        MediaError: the file is missing or cannot be read.
    """
    with _open(path) as container:
        return bool(container.streams.audio)


def read_waveform(
    path: str | Path, start: float = 0.0, duration: float | None = None
) -> tuple[np.ndarray, int]:
    """Read the sound of an audio or video file; its channels are averaged.

    Args:
        path: an audio or video file.
        start: seconds; what lies before the sound begins (also a negative start) is silence.
        duration: seconds to read, None for all that follows; fewer samples come where the file ends before.

    Returns:
        float32 (N,), nominally within [-1, 1], and the sample rate in Hz.

    Raises:
        MediaError: the file is missing, cannot be decoded, is cut off, or has no sound.
    """
    wav = _find_wav_samples(path)
    if wav is not None:
        return wav.read(round(start * wav.sample_rate), _count(duration, wav.sample_rate)), wav.sample_rate
    with _open(path) as container:
        stream = _first_stream(container, "audio", path)
        rate = stream.codec_context.sample_rate
        origin = _origin(container, stream)
        if start > _PREROLL_SECONDS:
            container.seek(int((start - _PREROLL_SECONDS + origin) / stream.time_base), stream=stream)
        return _read_mono(container, stream, round((start + origin) * rate), _count(duration, rate)), rate


def read_comment(path: str | Path) -> str:
    """Read the comment of a video file; "" where it has none.

    Raises:
        MediaError: the file is missing or cannot be read.
    """
    with _open(path) as container:
        comments = [text for key, text in container.metadata.items() if key.lower() == "comment"]
        return comments[0] if comments else ""


def write_video(
    path: str | Path,
    frames: Iterable[np.ndarray],
    fps: float,
    audio_from: str | Path | None = None,
    comment: str = "",
) -> None:
    """Write frames as an H.264 video, with the sound of another file.

    AAC and MP3 sound is copied unchanged, other sound encoded as AAC; it ends with the video. Odd sizes are
    made even by repeating the last row or column. The file appears only when it is complete.

    Args:
        path: the file to write: .mp4, .mov or .mkv.
        frames: RGB uint8 (H, W, 3), all of one size.
        fps: frames per second.
        audio_from: a file whose sound accompanies the frames from time 0; None, or a file without sound:
            a silent video.
        comment: a text within the file.

    Raises:
        MediaError: there is no frame, the sizes differ, or the file cannot be written; `audio_from` cannot be
            read.
    """
    path = Path(path)
    if path.suffix.lower() not in _VIDEO_SUFFIXES:
        raise MediaError(f"{path}: the name of a video ends in one of {_VIDEO_SUFFIXES}")
    if not path.parent.is_dir():
        raise MediaError(f"{path}: there is no folder {path.parent}")
    frames = _of_one_size(frames, path)
    has_sound = audio_from is not None and has_audio_stream(audio_from)
    try:
        with (
            replacing(path) as unfinished,
            av.open(os.path.abspath(audio_from)) if has_sound else nullcontext() as source,
        ):
            _encode(unfinished, frames, fps, source, comment)
    except av.FFmpegError as error:
        sound = f" with the sound of {audio_from}" if audio_from else ""
        raise MediaError(f"{path}: cannot be written{sound} ({error.strerror})") from error


def _require_file(path: str | Path) -> None:
    if not Path(path).is_file():
        raise MediaError(f"{path}: no such file")


@contextmanager
def _open(path: str | Path) -> Iterator[av.container.InputContainer]:
    _require_file(path)
    try:
        with av.open(os.path.abspath(path)) as container:
            yield container
    except av.FFmpegError as error:
        raise MediaError(f"{path}: cannot be decoded ({error.strerror})") from error


def _first_stream(container: av.container.InputContainer, kind: str, path: str | Path) -> av.stream.Stream:
    streams = getattr(container.streams, kind)
    if not streams:
        raise MediaError(f"{path}: the file has no {kind} stream")
    return streams[0]


def _timed_frames(
    container: av.container.InputContainer, stream: av.VideoStream
) -> Iterator[tuple[av.VideoFrame, Fraction]]:
    """Frames with their presentation times, the first at 0; those without one follow their predecessors."""
    first, following = None, Fraction(0)
    for frame in container.decode(stream):
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
    return 1 / (stream.average_rate or Fraction(25))


def _to_rgb(frame: av.VideoFrame) -> np.ndarray:
    """The picture as it is to be shown: cameras store the way they were held as a rotation."""
    quarter_turns = round(frame.rotation / 90)
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), quarter_turns))


def _origin(container: av.container.InputContainer, stream: av.AudioStream) -> Fraction:
    """Where time 0 lies on the container's clock, in seconds."""
    anchor = container.streams.video[0] if container.streams.video else stream
    return (anchor.start_time or 0) * anchor.time_base


def _find_wav_samples(path: str | Path) -> WavSamples | None:
    _require_file(path)
    try:
        return find_samples(path)
    except ValueError as error:
        raise MediaError(str(error)) from error


def _count(duration: float | None, sample_rate: int) -> int | None:
    return None if duration is None else round(duration * sample_rate)


def _read_mono(
    container: av.container.InputContainer, stream: av.AudioStream, first: int, count: int | None
) -> np.ndarray:
    """Up to `count` samples from sample `first` of the container's clock on."""
    frames = chain.from_iterable(map(av.AudioResampler(format="fltp").resample, container.decode(stream)))
    head = next(frames, None)
    if head is None:
        return np.zeros(0, np.float32)
    lead = round((head.time or 0) * head.sample_rate) - first
    blocks, length = [np.zeros(max(lead, 0), np.float32)], lead
    for frame in chain([head], frames):
        # Averaged here: FFmpeg's own stereo-to-mono is 3 dB too loud for floats.
        blocks.append(frame.to_ndarray().mean(axis=0))
        length += frame.samples
        if count is not None and length >= count:
            break
    return np.concatenate(blocks)[max(-lead, 0) :][:count]


def _of_one_size(frames: Iterable[np.ndarray], path: Path) -> Iterator[np.ndarray]:
    """The same frames; an error if there are none or their sizes differ."""
    shape = None
    for index, image in enumerate(frames):
        shape = shape or image.shape
        if image.shape != shape:
            raise MediaError(f"{path}: frame {index} is {image.shape}, frame 0 is {shape}")
        yield image
    if shape is None:
        raise MediaError(f"{path}: there are no frames to write")


def _encode(
    path: Path,
    frames: Iterator[np.ndarray],
    fps: float,
    source: av.container.InputContainer | None,
    comment: str,
) -> None:
    first = next(frames)
    with av.open(os.path.abspath(path), "w") as output:  # FFmpeg takes "a:b" for a protocol
        output.metadata["comment"] = comment
        rate = Fraction(fps).limit_denominator(100_000)
        video = _add_video_stream(output, first.shape, rate)
        packets = _sound_packets(source, output) if source else iter(())
        pending = next(packets, None)
        for index, image in enumerate(chain([first], frames)):
            output.mux(video.encode(_to_video_frame(image, index, rate)))
            while pending is not None and pending.pts * pending.time_base < (index + 1) / rate:
                output.mux(pending)
                pending = next(packets, None)
        output.mux(video.encode(None))


def _add_video_stream(
    output: av.container.OutputContainer, shape: tuple[int, ...], rate: Fraction
) -> av.VideoStream:
    stream = output.add_stream("libx264", rate=rate, options={"crf": "20", "preset": "veryfast"})
    stream.pix_fmt = "yuv420p"
    stream.height, stream.width = (size + size % 2 for size in shape[:2])
    return stream


def _to_video_frame(image: np.ndarray, index: int, rate: Fraction) -> av.VideoFrame:
    height, width = image.shape[:2]
    even = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
    frame.pts, frame.time_base = index, 1 / rate
    return frame


def _sound_packets(
    source: av.container.InputContainer, output: av.container.OutputContainer
) -> Iterator[av.Packet]:
    """The packets of a file's sound, for a new stream of `output`, on a clock that starts at 0."""
    stream = source.streams.audio[0]
    copied = stream.codec_context.name.removesuffix("float") in _COPIED_CODECS
    packets = _copied_packets(stream, output) if copied else _encoded_packets(stream, output)
    origin = _origin(source, stream)
    for packet in packets:
        shift = round(origin / packet.time_base)
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        yield packet


def _copied_packets(stream: av.AudioStream, output: av.container.OutputContainer) -> Iterator[av.Packet]:
    target = output.add_stream_from_template(stream)
    for packet in stream.container.demux(stream):
        if packet.dts is not None:  # the empty packet that ends a stream has none
            packet.stream = target
            yield packet


def _encoded_packets(stream: av.AudioStream, output: av.container.OutputContainer) -> Iterator[av.Packet]:
    layout = "mono" if stream.codec_context.channels == 1 else "stereo"
    target = output.add_stream("aac", rate=_AAC_RATE, layout=layout)
    resampler = av.AudioResampler(format="fltp", layout=layout, rate=_AAC_RATE)
    frames = chain(stream.container.decode(stream), [None])
    for frame in chain.from_iterable(map(resampler.resample, frames)):
        yield from target.encode(frame)
    yield from target.encode(None)
