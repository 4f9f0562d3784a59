"""The sound of a clip: the row of log-mel values or features that belongs to each of its frames.

Dimensions: T frames of the video, F frames of the clip, S separated sources, A audio channels; a log-mel
example is 96 × 64.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike

import numpy as np
import torch
from detectron2.utils.logger import log_first_n
from torch import Tensor

from avis.audio import EXAMPLE_SECONDS, SILENCE, log_mel_examples
from avis.formats.audio_features import open_features
from avis.formats.tracks import VideoId
from avis.media.errors import MediaError
from avis.media.video import read_waveform

EXAMPLE_SHAPE = (96, 64)
SOUNDS = ("own", "silent", "shuffled")

# Sound read before and after a single example, for the resampling filter and the last analysis window.
_MARGIN_SECONDS = 0.1
_PIECE_SECONDS = EXAMPLE_SECONDS + 2 * _MARGIN_SECONDS


@dataclass(frozen=True)
class VideoSound:
    """Where the sound of a video is.

    Attributes:
        video: what messages call the video.
        length: frames of the video that the sound belongs to, T.
        audio_file: a sound or video file; None for a silent video.
        features_file: the .npy file of its features, or their folder by source; None where there is none.
        audio_track: of the audio file's tracks, counted from 0; None for the first that is not silent.
        start: second of the sound at which frame 0 is.
    """

    video: VideoId
    length: int
    audio_file: str | None = None
    features_file: str | PathLike | None = None
    audio_track: int | None = None
    start: float = 0.0

    @classmethod
    def of(cls, record: dict) -> "VideoSound":
        """The sound of a record, its own or that which `with_sound` has given it."""
        length = record.get("sound_length", record["length"])
        files = record["audio_file"], record["audio_features_file"]
        return cls(record["video_id"], length, *files, start=record.get("sound_start", 0.0))

    def rows(self, frame_indices: Sequence[int]) -> list[int]:
        """Which of the T rows belong to frames; a shorter sound starts again."""
        return [index % self.length for index in frame_indices]


def load_examples(sound: VideoSound, frame_indices: Sequence[int], fps: float) -> Tensor:
    """Compute the log-mel examples of some frames of a video from its waveform.

    A video without a file is silent, and so is what follows the end of its sound.

    Args:
        sound: of the video.
        frame_indices: F indices of frames.
        fps: frames per second of the video.

    Returns:
        float32 (F, 96, 64).

    Raises:
        ValueError: the file cannot be read or holds NaN; the message names it.
    """
    path = sound.audio_file
    if path is None:
        return torch.full((len(frame_indices), *EXAMPLE_SHAPE), SILENCE)
    rows = sound.rows(frame_indices)
    try:
        # Frames that lie close together are cheaper in one piece.
        in_one = not sound.start and 2 * len(rows) > max(rows)
        return (_read_from_start if in_one else _read_in_pieces)(sound, rows, fps)
    except ValueError as error:
        culprit = str(error) if isinstance(error, MediaError) else f"{path}: {error}"
        raise ValueError(f"sound of video {sound.video!r}: {culprit}") from error


def load_features(sound: VideoSound, frame_indices: Sequence[int], feature_dim: int) -> Tensor:
    """Read the precomputed audio features of some frames of a video.

    Args:
        sound: of the video, with features.
        frame_indices: F indices of frames.
        feature_dim: A, channels that the model expects.

    Returns:
        float32 (F, A), or (F, S, A) where the features are of S separated sources.

    Raises:
        ValueError: the features are no numbers of shape (T, A) or (T, S, A), or hold NaN; the message names
            the file.
    """
    where = f"audio features of video {sound.video!r}"
    try:
        features = open_features(sound.features_file)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    where = f"{where}: {sound.features_file}"
    _check_shape(features.shape, (sound.length, feature_dim), where)
    values = torch.from_numpy(np.array(features[sound.rows(frame_indices)], dtype=np.float32))
    if not torch.isfinite(values).all():
        raise ValueError(f"{where}: NaN or infinity in the frames {list(frame_indices)}")
    return values


def _check_shape(shape: tuple[int, ...], expected: tuple[int, int], where: str) -> None:
    """Refuse what is neither (T, A) nor (T, S, A)."""
    if len(shape) not in (2, 3) or 0 in shape or (shape[0], shape[-1]) != expected:
        raise ValueError(f"{where}: shape {shape}, not {expected} (frames, MODEL.AUDIO.FEATURE_DIM)")


def with_sound(records: list[dict], sound: str) -> list[dict]:
    """Give videos another sound, to see whether a model listens.

    Args:
        records: of the videos.
        sound: "own"; "silent": none; "shuffled": each hears the video that follows it, from the start again
            where that one is shorter.

    Returns:
        New records; the given ones stay as they are.

    Raises:
        ValueError: an unknown kind of sound, or fewer than two videos to shuffle.
    """
    if sound not in SOUNDS:
        raise ValueError(f"INPUT.AUDIO.AT_TEST is {sound!r}; it must be one of {SOUNDS}")
    if sound == "own":
        return records
    if sound == "silent":
        return [{**record, "audio_file": None, "audio_features_file": None} for record in records]
    if len(records) < 2:
        raise ValueError("INPUT.AUDIO.AT_TEST 'shuffled' needs at least two videos")
    return [_hear(record, other) for record, other in zip(records, records[1:] + records[:1], strict=True)]


def _hear(record: dict, other: dict) -> dict:
    return {
        **record,
        "audio_file": other["audio_file"],
        "audio_features_file": other["audio_features_file"],
        "sound_length": VideoSound.of(other).length,
        "sound_start": VideoSound.of(other).start,
    }


def _read_from_start(sound: VideoSound, rows: Sequence[int], fps: float) -> Tensor:
    last, path = max(rows), sound.audio_file
    seconds = last / fps + EXAMPLE_SECONDS + _MARGIN_SECONDS
    waveform, sample_rate = read_waveform(path, duration=seconds, track=sound.audio_track)
    if len(waveform) < last / fps * sample_rate:
        _warn_that_sound_ends(path, last, last / fps)
    return log_mel_examples(waveform, sample_rate, last + 1, fps)[list(rows)]


def _read_in_pieces(sound: VideoSound, rows: Sequence[int], fps: float) -> Tensor:
    """Each row's sound and the margins around it, put one after the other to be analysed at once."""
    path, pieces = sound.audio_file, []
    for row in rows:
        time = sound.start + row / fps
        piece, sample_rate = read_waveform(path, time - _MARGIN_SECONDS, _PIECE_SECONDS, sound.audio_track)
        if len(piece) <= _MARGIN_SECONDS * sample_rate:
            _warn_that_sound_ends(path, row, time)
        pieces.append(np.pad(piece, (0, round(_PIECE_SECONDS * sample_rate) - len(piece))))
    # An empty piece ahead, less a margin, lets piece i start a margin before example i's time.
    ahead = np.zeros(round((_PIECE_SECONDS - _MARGIN_SECONDS) * sample_rate), np.float32)
    waveform = np.concatenate([ahead, *pieces])
    return log_mel_examples(waveform, sample_rate, len(rows) + 1, fps=1 / _PIECE_SECONDS)[1:]


def _warn_that_sound_ends(path: str, row: int, time: float) -> None:
    log_first_n(
        logging.WARNING,
        f"{path}: the sound ends before frame {row} at {time:g} s; what is missing counts as silence",
        key="message",
    )
