"""What is wrong with the sound of a video and its features.

Dimensions: T frames of a video, N samples.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from avis.audio import EXAMPLE_SECONDS
from avis.data.clip_audio import VideoSound, load_features
from avis.dataset_tools.problems import ERROR, WARNING, Problem
from avis.formats.audio_features import count_sources
from avis.formats.aviseg import FEATURES, SOUNDS
from avis.media.video import read_waveform

# Samples below are silence: -80 dB.
_SILENCE = 1e-4
# Sound longer than so many times the picture, and so many seconds more, is of something else.
_LONGER, _LONGER_SECONDS = 1.5, 2


@dataclass(frozen=True)
class SoundSettings:
    """What the sound of a data set shall be.

    Attributes:
        fps: frames per second of the videos.
        feature_dim: channels of the audio features.
        features_dir: the folder of these beside JPEGImages.
        num_sources: separated sources that these hold.
    """

    fps: float = 1.0
    feature_dim: int = 128
    features_dir: str = FEATURES
    num_sources: int = 1


def sound_problems(
    record: dict, sounding: np.ndarray, settings: SoundSettings, shares_sound: bool
) -> Iterator[Problem]:
    """Yield what is wrong with the sound of a video.

    Args:
        record: of the video.
        sounding: frames with a mask, bool (T,).
        settings: of the data set.
        shares_sound: whether other videos are of the same folder, and hear other parts of it.
    """
    where = f"video {record['video_id']!r}"
    if record["audio_file"]:
        yield from _waveform_problems(record, sounding, settings.fps, shares_sound)
    elif not record["audio_features_file"]:
        message = f"{where}: there is neither a file in {SOUNDS} nor one in {settings.features_dir}"
        yield Problem(ERROR if sounding.any() else WARNING, "no sound", where, message)
    if record["audio_features_file"]:
        yield from _features_problems(record, settings)


def _features_problems(record: dict, settings: SoundSettings) -> Iterator[Problem]:
    where, kind, file = f"video {record['video_id']!r}", "unusable features", record["audio_features_file"]
    try:
        load_features(VideoSound.of(record), range(record["length"]), settings.feature_dim)
        num_sources = count_sources(file)
    except ValueError as error:
        yield Problem(ERROR, kind, where, str(error))
        return
    if num_sources != settings.num_sources:
        message = f"{where}: {file} has {num_sources} separated sources, not {settings.num_sources}"
        yield Problem(ERROR, kind, where, message)


def _waveform_problems(
    record: dict, sounding: np.ndarray, fps: float, shares_sound: bool
) -> Iterator[Problem]:
    where, file = f"video {record['video_id']!r}", record["audio_file"]
    try:
        waveform, rate = read_waveform(file)
    except ValueError as error:
        yield Problem(ERROR, "unusable sound", where, f"{where}: {error}")
        return
    if broken := int((~np.isfinite(waveform)).sum()):
        message = f"{where}: {file} has {broken} samples of NaN or infinity"
        yield Problem(ERROR, "unusable sound", where, message)
        return
    seconds, start = len(waveform) / rate, record["sound_start"]
    last = start + (record["length"] - 1) / fps
    if seconds <= last:
        message = f"{where}: {file} lasts {seconds:g} s, the last frame is at {last:g} s"
        yield Problem(ERROR, "sound too short", where, message)
    elif not shares_sound and not start and seconds > _LONGER * record["length"] / fps + _LONGER_SECONDS:
        message = f"{where}: {file} lasts {seconds:g} s, much longer than the picture, {last + 1 / fps:g} s"
        yield Problem(WARNING, "sound too long", where, message)
    yield from _silence_problems(where, sounding, _loudness(waveform, rate, start, record["length"], fps))


def _silence_problems(where: str, sounding: np.ndarray, loudness: np.ndarray) -> Iterator[Problem]:
    heard = sounding & ~np.isnan(loudness)
    silent = np.flatnonzero(heard & (loudness < _SILENCE)).tolist()
    if silent:
        message = f"{where}: silence under masks in {len(silent)} of {heard.sum()} frames, first {silent[0]}"
        severity = ERROR if len(silent) == heard.sum() else WARNING
        yield Problem(severity, "silence under sounding masks", where, message)


def _loudness(waveform: np.ndarray, rate: int, start: float, length: int, fps: float) -> np.ndarray:
    """The highest sample that each frame hears, (T,); NaN where the sound has ended."""
    loudness = np.full(length, np.nan)
    for frame in range(length):
        begin = round((start + frame / fps) * rate)
        heard = waveform[begin : begin + round(EXAMPLE_SECONDS * rate)]
        if len(heard):
            loudness[frame] = np.abs(heard).max()
    return loudness
