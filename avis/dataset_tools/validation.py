"""Everything that is wrong with a split in the AVISeg format: its annotations, frames, masks and sound.

Dimensions: T frames of a video.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from avis.data.records import video_record
from avis.dataset_tools.frame_checks import (
    FrameHashes,
    folder_problems,
    frame_problems,
    hash_frames,
    order_problems,
    shared_videos,
)
from avis.dataset_tools.mask_checks import mask_problems, percent_problems, read_track
from avis.dataset_tools.problems import ERROR, WARNING, Problem
from avis.dataset_tools.sound_checks import SoundSettings, sound_problems
from avis.formats.aviseg import Annotations, parse_annotations, read_annotations, split_folder
from avis.formats.format_check import format_problems
from avis.formats.tracks import Video

_AVISEG_SOUND = SoundSettings()


@dataclass(frozen=True)
class CheckedSplit:
    """What was found in a split.

    Attributes:
        problems: in the order of the videos.
        videos: their frames, to be compared with those of other splits.
    """

    problems: list[Problem]
    videos: list[FrameHashes] = field(default_factory=list)


def validate_dataset(json_file: str | Path, sound: SoundSettings = _AVISEG_SOUND) -> list[Problem]:
    """Find all problems of a split by itself; `validate_datasets` compares several."""
    return validate_datasets([json_file], sound)[str(json_file)]


def validate_datasets(
    json_files: Sequence[str | Path], sound: SoundSettings = _AVISEG_SOUND
) -> dict[str, list[Problem]]:
    """Find all problems of splits: read every frame, mask, sound and feature file, with a progress bar.

    The files are read once the annotations are in order: until then the problems of these are returned, and a
    last sentence that says so.

    Args:
        json_files: annotations; the files of each lie in the folder of the same name.
        sound: what their sound and its features shall be.

    Returns:
        The problems of each file, by its name. A file that cannot be read is a problem of its own.
    """
    splits = {str(json_file): _check_split(json_file, sound) for json_file in json_files}
    found = {name: list(split.problems) for name, split in splits.items()}
    for name, problem in shared_videos(video for split in splits.values() for video in split.videos):
        found[name].append(problem)
    return found


def _check_split(json_file: str | Path, sound: SoundSettings) -> CheckedSplit:
    try:
        content = parse_annotations(json_file)[1]
    except (ValueError, FileNotFoundError) as error:
        return CheckedSplit([Problem(ERROR, "no annotations", str(json_file), str(error))])
    if problems := [Problem(ERROR, "format", str(json_file), text) for text in format_problems(content)]:
        last = f"{json_file}: frames, masks and sound are checked once the above is mended"
        return CheckedSplit([*problems, Problem(ERROR, "format", str(json_file), last)])
    return _check_content(content, Path(json_file), sound)


def _check_content(content: dict[str, Any], json_file: Path, sound: SoundSettings) -> CheckedSplit:
    annotations = read_annotations(content)
    by_id = {video.id: video for video in annotations.videos}
    entries = [(by_id[key], entry) for key, listed in annotations.entries.items() for entry in listed]
    problems = [*_separator_problems(content), *folder_problems(by_id.values()), *percent_problems(entries)]
    sharing = Counter(video.name for video in by_id.values())
    hashes = []

    def check(video: Video) -> tuple[list[Problem], list[bytes | None]]:
        return _check_video(annotations, video, json_file, sound, sharing[video.name] > 1)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        checked = pool.map(check, annotations.videos)
        bar = tqdm(checked, json_file.name, len(by_id), unit="video")
        for video, (found, content_hashes) in zip(annotations.videos, bar, strict=True):
            problems += found
            hashes.append(FrameHashes(str(json_file), video.id, content_hashes))
    return CheckedSplit(problems, hashes)


def _check_video(
    annotations: Annotations, video: Video, json_file: Path, sound: SoundSettings, shares_sound: bool
) -> tuple[list[Problem], list[bytes | None]]:
    """The problems of a video, and the hashes of its frames."""
    record = video_record(video, split_folder(json_file), sound.features_dir)
    hashes = hash_frames(record)
    tracks = [read_track(entry, video) for entry in annotations.entries[video.id]]
    sounding = np.zeros(video.length, bool)
    for track in tracks:
        sounding |= track.areas > 0
    problems = [
        *order_problems(video),
        *frame_problems(record, hashes),
        *mask_problems(tracks, video),
        *sound_problems(record, sounding, sound, shares_sound),
    ]
    return problems, hashes


def _separator_problems(content: dict[str, Any]) -> Iterator[Problem]:
    for video in content["videos"]:
        if name := next((name for name in video["file_names"] if "\\" in name), None):
            where = f"video {video['id']!r}"
            message = f"{where}: the file name {name} has Windows separators (\\), read as /"
            yield Problem(WARNING, "Windows separators", where, message)
