"""The sound of media files.

Times are seconds from the first video frame, or from the first sample of a file without pictures.

Dimensions: C channels, N samples.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np

from avis.media.demuxing import decoded_frames, may_restart, open_media, require_file, video_streams
from avis.media.errors import MediaError, warn_once
from avis.media.wav import WavSamples, find_samples

# Sound decoded ahead of the wanted start: compressed codecs need a block before they give the true signal.
_PREROLL_SECONDS = 0.2
# A longer hole in the sound is silence, and a longer overlap left out; shorter ones are rounded times.
_HOLE_SECONDS = 0.1
# Samples of a WAV that are read at once.
_BLOCK = 2**18
# Root mean square of a block, of full scale 1, above which a track is not silent (-60 dB).
_AUDIBLE = 1e-3


def has_audio_stream(path: str | Path) -> bool:
    """Whether a media file has sound that can be decoded; a warning says so if only a decoder lacks.

    Raises:
        MediaError: the file is missing or cannot be read.
    """
    return find_track(path) is not None


def find_track(path: str | Path, track: int | None = None) -> int | None:
    """The audio track of a file to hear, counted from 0.

    Args:
        path: an audio or video file.
        track: the track wanted; None for the first that is not silent.

    Returns:
        None if the file has no sound, or none that can be decoded.

    Raises:
        MediaError: the file is missing or cannot be read, or has no such track.
    """
    require_file(path)
    status = Path(path).stat()
    return _find_track(str(path), track, (status.st_mtime_ns, status.st_size))


def read_waveform(
    path: str | Path, start: float = 0.0, duration: float | None = None, track: int | None = None
) -> tuple[np.ndarray, int]:
    """Read the sound of an audio or video file; its channels are averaged.

    Args:
        path: an audio or video file.
        start: seconds; what lies before the sound begins (also a negative start) is silence.
        duration: seconds to read, None for all that follows; fewer samples come where the file ends before.
        track: of several audio tracks, counted from 0; None for the first that is not silent.

    Returns:
        float32 (N,), nominally within [-1, 1], and the sample rate in Hz.

    Raises:
        MediaError: the file is missing, cannot be decoded, or has no sound or no such track.
    """
    wav = _find_wav_samples(path) if not track else None
    if wav is not None:
        return wav.read(round(start * wav.sample_rate), _count(duration, wav.sample_rate)), wav.sample_rate
    track = find_track(path, track)
    with open_media(path) as container:
        if track is None:
            raise MediaError(f"{path}: {_no_sound(container)}")
        stream = container.streams.audio[track]
        begin = start + origin(container, stream)
        # A clock that may have jumped before is only known from the start.
        if start > _PREROLL_SECONDS and not may_restart(container) and not video_streams(container):
            container.seek(int((begin - _PREROLL_SECONDS) / stream.time_base), stream=stream)
        rate = stream.codec_context.sample_rate
        return _take(sound_blocks(container, stream, path, begin, rate), _count(duration, rate)), rate


def read_peaks(
    path: str | Path, number: int, start: float, duration: float, track: int | None = None
) -> np.ndarray:
    """How loud the sound of a file is: the largest sample of each of `number` parts of equal length.

    It takes no more memory for a long sound than for a short one.

    Args:
        path: an audio or video file with sound.
        number: of parts.
        start: second at which the first part begins.
        duration: of all parts, in seconds.
        track: of several audio tracks, counted from 0; None for the first that is not silent.

    Returns:
        float32 (number,), nominally within [0, 1]; 0 where there is no sound.

    Raises:
        MediaError: see `read_waveform`.
    """
    peaks, position = np.zeros(number, np.float32), 0
    with _open_blocks(path, start, track) as (blocks, rate):
        for block in blocks:
            part = (np.arange(position, position + len(block)) * number / (rate * duration)).astype(int)
            position += len(block)
            firsts = np.flatnonzero(np.diff(part, prepend=-1))
            found, part = np.maximum.reduceat(np.abs(block), firsts), part[firsts]
            inside = part < number
            peaks[part[inside]] = np.maximum(peaks[part[inside]], found[inside])
            if not inside.all():
                break
    return peaks


@contextmanager
def _open_blocks(
    path: str | Path, start: float, track: int | None
) -> Iterator[tuple[Iterator[np.ndarray], int]]:
    """The sound of a file from second `start` on in blocks (n,), its channels averaged, and its rate."""
    wav = _find_wav_samples(path) if not track else None
    if wav is not None:
        first = round(start * wav.sample_rate)
        yield (wav.read(begin, _BLOCK) for begin in range(first, wav.length, _BLOCK)), wav.sample_rate
        return
    track = find_track(path, track)
    with open_media(path) as container:
        if track is None:
            raise MediaError(f"{path}: {_no_sound(container)}")
        stream = container.streams.audio[track]
        rate, begin = stream.codec_context.sample_rate, start + origin(container, stream)
        blocks = sound_blocks(container, stream, path, begin, rate)
        yield (block.mean(axis=0) for block in blocks if block.size), rate


def sound_blocks(
    container: av.container.InputContainer,
    stream: av.AudioStream,
    path: str | Path,
    start: float | Fraction,
    rate: int,
    layout: str | None = None,
) -> Iterator[np.ndarray]:
    """The sound of a stream without holes, in float32 blocks (C, n); silence where there is none.

    Args:
        container: the open file.
        stream: of the file.
        path: what messages call the file.
        start: seconds on the container's clock.
        rate: sample rate of the blocks in Hz.
        layout: "mono" or "stereo"; None for the channels that there are.
    """
    first, reached = round(start * rate), None
    for frame in _resampled(decoded_frames(container, stream, path), rate, layout):
        block = frame.to_ndarray()
        begin = reached if frame.time is None else round(frame.time * rate)
        if reached is None:
            begin = begin or 0
            reached = min(begin, first)
            hole = begin - reached
        else:
            hole = begin - reached if abs(begin - reached) > _HOLE_SECONDS * rate else 0
        block = np.pad(block, ((0, 0), (max(hole, 0), 0)))[:, max(-hole, 0) :]
        if reached + block.shape[1] > first:
            yield block[:, max(first - reached, 0) :]
        reached += block.shape[1]


def origin(container: av.container.InputContainer, stream: av.AudioStream) -> Fraction:
    """Where time 0 lies on the container's clock, in seconds."""
    anchor = next(iter(video_streams(container)), stream)
    return (anchor.start_time or 0) * anchor.time_base


@cache
def _find_track(path: str, track: int | None, version: tuple[int, int]) -> int | None:
    """`find_track`, for a file of a certain time of change and size."""
    with open_media(path) as container:
        number = len(container.streams.audio)
    if track is not None and not 0 <= track < number:
        raise MediaError(f"{path}: there is no audio track {track}, the file has {number} (counted from 0)")
    decodable = [index for index in range(number) if _loudest(path, index, enough=0) is not None]
    if track is not None and track not in decodable:
        raise MediaError(f"{path}: there is no decoder for audio track {track}")
    if track is not None or number == 0:
        return track
    if not decodable:
        warn_once(f"{path}: there is no decoder for its sound")
        return None
    return _first_audible(path, decodable) if number > 1 else 0


def _first_audible(path: str, tracks: list[int]) -> int:
    for track in tracks:
        if _loudest(path, track, enough=_AUDIBLE) > _AUDIBLE:
            warn_once(f"{path}: of its audio tracks, track {track} is heard, the first that is not silent")
            return track
    warn_once(f"{path}: all its audio tracks are silent; track {tracks[0]} is heard")
    return tracks[0]


def _loudest(path: str, track: int, enough: float) -> float | None:
    """The root mean square of a track's loudest block, or of the first with `enough`; None: no decoder."""
    loudest = 0.0
    with open_media(path) as container:
        stream = container.streams.audio[track]
        if stream.codec_context is None:
            return None
        try:
            for frame in _resampled(
                decoded_frames(container, stream, path), stream.codec_context.sample_rate
            ):
                loudest = max(loudest, float(np.sqrt(np.square(frame.to_ndarray()).mean())))
                if loudest >= enough:
                    break
        except MediaError:
            return None
    return loudest


def _no_sound(container: av.container.InputContainer) -> str:
    return "there is no decoder for its sound" if container.streams.audio else "the file has no audio stream"


def _find_wav_samples(path: str | Path) -> WavSamples | None:
    require_file(path)
    try:
        return find_samples(path)
    except ValueError as error:
        raise MediaError(str(error)) from error


def _count(duration: float | None, sample_rate: int) -> int | None:
    return None if duration is None else round(duration * sample_rate)


def _take(blocks: Iterator[np.ndarray], count: int | None) -> np.ndarray:
    """Up to `count` samples, channels averaged."""
    taken, length = [np.zeros(0, np.float32)], 0
    for block in blocks:
        # Averaged here: FFmpeg's own stereo-to-mono is 3 dB too loud for floats.
        taken.append(block.mean(axis=0))
        length += block.shape[1]
        if count is not None and length >= count:
            break
    return np.concatenate(taken)[:count]


def _resampled(
    frames: Iterator[av.AudioFrame], rate: int, layout: str | None = None
) -> Iterator[av.AudioFrame]:
    """The frames as floats at one rate, also where the recording changes its own midway."""
    resampler, kind = None, None
    for frame in frames:
        if kind != (frame.format.name, frame.layout.name, frame.sample_rate):
            yield from resampler.resample(None) if resampler else ()
            kind = (frame.format.name, frame.layout.name, frame.sample_rate)
            resampler = av.AudioResampler(format="fltp", layout=layout, rate=rate)
        yield from resampler.resample(frame)
    yield from resampler.resample(None) if resampler else ()
