"""Everything that is wrong with a split in the AVISeg format: its annotations, frames, masks and sound.

Dimensions: T frames of a video.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from avis.data.clip_audio import VideoSound, load_features
from avis.data.clip_mapper import decode_mask, read_frame
from avis.data.records import load_aviseg_json
from avis.formats.aviseg import FEATURES, SOUNDS, parse_annotations
from avis.formats.format_check import format_problems
from avis.media.video import read_waveform


def validate_dataset(json_file: str | Path, fps: float = 1.0, feature_dim: int = 128) -> list[str]:
    """Find all problems of a split: read every frame, mask, sound and feature file, with a progress bar.

    The files are read once the annotations are in order: until then the problems of these are returned, and a
    last sentence that says so.

    Args:
        json_file: the annotations; the files lie in the folder of the same name.
        fps: frames per second of the videos.
        feature_dim: channels of the audio features.

    Returns:
        One sentence a problem, which names the culprit.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not JSON.
    """
    problems = list(format_problems(parse_annotations(json_file)[1]))
    if problems:
        return [*problems, f"{json_file}: frames, masks and sound are checked once the above is mended"]
    records = load_aviseg_json(json_file)
    check = partial(video_problems, fps=fps, feature_dim=feature_dim)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        videos = tqdm(pool.map(check, records), Path(json_file).name, len(records), unit="video")
        return [problem for problems in videos for problem in problems]


def video_problems(record: dict, fps: float, feature_dim: int) -> list[str]:
    """Read all that belongs to a video, and say what is wrong with it.

    Args:
        record: of the video, as `load_aviseg_json` makes them.
        fps: frames per second of the video.
        feature_dim: channels of the audio features.
    """
    checks = [
        *(partial(read_frame, record, index) for index in range(record["length"])),
        *(partial(decode_mask, record, annotation, index) for annotation, index in _masks(record)),
        partial(_check_sound, record, fps),
    ]
    if record["audio_features_file"]:
        sound = VideoSound.of(record)
        checks.append(partial(load_features, sound, range(record["length"]), feature_dim))
    return [problem for problem in map(_failure, checks) if problem]


def _masks(record: dict) -> Iterator[tuple[dict, int]]:
    for annotation in record["annotations"]:
        for index in range(record["length"]):
            yield annotation, index


def _check_sound(record: dict, fps: float) -> None:
    where = f"video {record['video_id']!r}"
    if not record["audio_file"]:
        if not record["audio_features_file"]:
            raise ValueError(f"{where}: there is neither a file in {SOUNDS} nor one in {FEATURES}")
        return
    waveform, sample_rate = read_waveform(record["audio_file"])
    broken = np.flatnonzero(~np.isfinite(waveform))
    if len(broken):
        raise ValueError(f"{where}: {record['audio_file']} has {len(broken)} samples of NaN or infinity")
    seconds, last = len(waveform) / sample_rate, (record["length"] - 1) / fps
    if seconds <= last:
        raise ValueError(
            f"{where}: {record['audio_file']} lasts {seconds:g} s, the last frame is at {last:g} s"
        )


def _failure(check: partial) -> str | None:
    try:
        check()
    except ValueError as error:
        return str(error)
    return None
