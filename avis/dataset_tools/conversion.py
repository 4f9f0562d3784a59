"""A split in the AVISeg format, made of annotated videos in any format.

Dimensions: T frames of a video, N objects.
"""

import bisect
import logging
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pycocotools import mask as coco_mask
from tqdm import tqdm

from avis.dataset_tools.cutting import cut_frames, expected_frames, write_sound
from avis.dataset_tools.mask_checks import duplicates, percent_problems, read_track
from avis.dataset_tools.source_media import MissingMediaError, SourceMedia, VideoMedia
from avis.dataset_tools.unfinished_split import UnfinishedSplit
from avis.files import write_json
from avis.formats.aviseg import FRAMES, sound_file
from avis.formats.masks import MeasuredMasks, read_masks
from avis.formats.readers.common import Findings, SourceObject, SourceSet, SourceVideo
from avis.formats.tracks import Video
from avis.media.pictures import read_picture

logger = logging.getLogger(__name__)

# Seconds between two lines of progress where it does not go to a terminal.
_QUIET_SECONDS = 30


@dataclass(frozen=True)
class _Job:
    """A video to be made."""

    number: int
    video: SourceVideo
    media: VideoMedia


def convert(
    sources: Sequence[SourceSet],
    media: SourceMedia,
    target: UnfinishedSplit,
    findings: Findings,
    info: dict[str, Any],
    skip_missing: bool = False,
) -> None:
    """Write the frames, the sound and the annotations of a split, unfinished until it is published.

    Videos that an ended run has finished are kept.

    Args:
        sources: the content of annotation files.
        media: finds their frames and sound.
        target: where to write.
        findings: receives what is odd.
        info: what the JSON shall say of its making.
        skip_missing: leave out videos without files, and count them.

    Raises:
        MissingMediaError: a video has no files.
        ValueError: videos of one name; or annotations or media cannot be used; the message names the place.
    """
    jobs = list(_jobs(sources, media, findings, skip_missing))
    if not jobs:
        raise ValueError("no video is left to convert")
    states = _make_files(jobs, media.options.fps, target, findings)
    content = _annotate(jobs, states, sources, media.options.fps, findings)
    write_json(target.json_file, {**target.origin.to_json(), "info": info, **content})


def _jobs(
    sources: Sequence[SourceSet], media: SourceMedia, findings: Findings, skip_missing: bool
) -> Iterator[_Job]:
    """The videos with their files, all looked up before the first is made."""
    seen: dict[str, str] = {}
    number = 0
    for source in sources:
        for video in source.videos:
            if video.name in seen:
                raise ValueError(f"{video.where}: {seen[video.name]} is called {video.name!r}, too")
            seen[video.name] = video.where
            try:
                found = media.find(video, source)
            except MissingMediaError as error:
                if not skip_missing:
                    raise
                findings.add("videos whose files are missing, left out", str(error).partition(";")[0])
                continue
            yield _Job(number, video, found)
            number += 1


def _make_files(
    jobs: Sequence[_Job], fps: float, target: UnfinishedSplit, findings: Findings
) -> list[dict[str, Any]]:
    """Write the frames and the sound of the videos, and say what is known of each."""
    states = []
    lengths = [_length(job, fps) for job in jobs]
    is_terminal = sys.stderr.isatty()
    with tqdm(
        desc="frames", total=sum(lengths), unit="frame", mininterval=0.1 if is_terminal else _QUIET_SECONDS
    ) as bar:
        done = 0
        for job, length in zip(jobs, lengths, strict=True):
            states.append(_make_video(job, fps, target, bar.update))
            done += length
            bar.update(done - bar.n)  # of videos that are there already, or longer than they say
            for kind in states[-1]["findings"]:
                findings.add(kind, job.video.where)
    return states


def _length(job: _Job, fps: float) -> int:
    return len(job.media.chosen) if job.media.video is None else expected_frames(job.media.video, fps)


def _make_video(job: _Job, fps: float, target: UnfinishedSplit, advance: Callable[[], Any]) -> dict[str, Any]:
    version = _version(job.media)
    state = target.state_of(job.number)
    if state is not None and state["version"] == version:
        return state
    folder = target.folder / FRAMES / job.video.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    make = _copy_pictures if job.media.video is None else _cut
    state = {**make(job, folder, fps, advance), "version": version, "findings": []}
    if job.media.sound is not None:
        seconds = job.video.extra.get("start", 0) + len(state["names"]) / fps
        found = write_sound(job.media.sound, sound_file(target.folder, job.video.name), seconds)
        told = {
            "none": "videos without sound",
            "padded": "videos whose sound ends before the picture; silence follows",
        }
        state["findings"] += [told[found]] if found else []
    target.note(job.number, state)
    return state


def _version(media: VideoMedia) -> list[Any]:
    """What changes when the files of a video do."""
    files = [file for file in (media.video, media.sound, *media.pictures[:1]) if file is not None]
    return [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def _cut(job: _Job, folder: Path, fps: float, advance: Callable[[], Any]) -> dict[str, Any]:
    cut = cut_frames(job.media.video, folder, fps, advance)
    annotated = job.video.size
    if annotated is not None and annotated != cut.size:
        raise ValueError(
            f"{job.video.where}: annotated at {annotated[0]}×{annotated[1]}, and {job.media.video} is "
            f"{cut.size[0]}×{cut.size[1]}"
        )
    return {"names": cut.names, "numbers": cut.numbers, "total": cut.total, "size": list(cut.size)}


def _copy_pictures(job: _Job, folder: Path, _: float, advance: Callable[[], Any]) -> dict[str, Any]:
    names: list[str] = []
    size = job.video.size
    for index in job.media.chosen:
        file = job.media.pictures[index]
        size = read_picture(file, size).shape[:2]
        name = file.name
        if (folder / name).exists():
            raise ValueError(f"{job.video.where}: two of its pictures are called {name}")
        shutil.copyfile(file, folder / name)
        names.append(name)
        advance()
    total = len(job.media.pictures)
    return {"names": names, "numbers": list(job.media.chosen), "total": total, "size": list(size)}


def _annotate(
    jobs: Sequence[_Job],
    states: Sequence[dict[str, Any]],
    sources: Sequence[SourceSet],
    fps: float,
    findings: Findings,
) -> dict[str, Any]:
    """Videos, categories and annotations of the JSON."""
    categories = _categories(sources)
    own_ids = [job.video.id for job in jobs]
    keeps_ids = len(sources) == 1 and None not in own_ids
    videos, annotations, outlines = [], [], []
    bar = tqdm(jobs, "annotations", unit="video", delay=2, mininterval=_QUIET_SECONDS / 30)
    for job, state in zip(bar, states, strict=True):
        video = _video(job, state, job.video.id if keeps_ids else job.number + 1)
        videos.append(video)
        for entry in _entries(job, state, video, fps, categories, findings, outlines):
            annotations.append({"id": len(annotations) + 1, **entry})
    for problem in percent_problems(outlines):
        raise ValueError(problem.message)
    rows = [{"id": category_id, "name": name} for name, category_id in categories.items()]
    return {"videos": videos, "categories": rows, "annotations": annotations}


def _categories(sources: Sequence[SourceSet]) -> dict[str, int]:
    """The ids of all categories; those of the file, if it is one."""
    if len(sources) == 1:
        return {name: category_id for category_id, name in sources[0].categories.items()}
    names = dict.fromkeys(name for source in sources for name in source.categories.values())
    return {name: number for number, name in enumerate(names, start=1)}


def _video(job: _Job, state: dict[str, Any], video_id: int | str) -> dict[str, Any]:
    height, width = state["size"]
    return {
        "id": video_id,
        "height": height,
        "width": width,
        "length": len(state["names"]),
        "file_names": [(PurePosixPath(job.video.name) / name).as_posix() for name in state["names"]],
        **job.video.extra,
    }


def _entries(
    job: _Job,
    state: dict[str, Any],
    video: dict[str, Any],
    fps: float,
    categories: dict[str, int],
    findings: Findings,
    outlines: list[tuple[Video, dict[str, Any]]],
) -> list[dict[str, Any]]:
    """The annotations of a video, without ids; `outlines` receives those of its masks that are polygons."""
    positions, end = _positions(job, state, fps, findings)
    objects = list(job.video.objects(tuple(state["size"])))
    for found in objects:
        beyond = sum(position >= end for position in found.positions)
        findings.add(
            "masks beyond the last frame, left out", f"{job.video.where}, of {found.category!r}", beyond
        )
    masks = [[None if at < 0 else found.mask_at(at) for at in positions] for found in objects]
    names = [f"{job.video.where}, an object of {found.category!r}" for found in objects]
    shape = Video(video["id"], video["height"], video["width"], video["file_names"])
    polygons = ([mask for mask in of_object if isinstance(mask, list)] for of_object in masks)
    outlines += [(shape, {"segmentations": listed}) for listed in polygons if listed]
    entries = []
    for found, measured in zip(objects, read_masks(masks, names, shape), strict=True):
        findings.add("masks without a pixel, left out", job.video.where, int(measured.nullified.sum()))
        if not measured.areas.any():
            findings.add("objects that neither sound nor show in any frame, left out", job.video.where)
            continue
        entries.append(_entry(found, measured, video, categories))
    tracks = [read_track({"id": number, **entry}, shape) for number, entry in enumerate(entries)]
    twice = {track.entry["id"] for _, track in duplicates(tracks)}
    findings.add("objects that are there twice, left out", job.video.where, len(twice))
    return [entry for number, entry in enumerate(entries) if number not in twice]


def _entry(
    found: SourceObject, measured: MeasuredMasks, video: dict[str, Any], categories: dict[str, int]
) -> dict[str, Any]:
    masks = list(measured.masks)
    return {
        "video_id": video["id"],
        "category_id": categories[found.category],
        "iscrowd": int(found.is_crowd),
        "height": video["height"],
        "width": video["width"],
        "segmentations": masks,
        "bboxes": [mask and coco_mask.toBbox(mask).tolist() for mask in masks],
        "areas": [area or None for area in measured.areas.tolist()],
    }


def _positions(job: _Job, state: dict[str, Any], fps: float, findings: Findings) -> tuple[list[float], float]:
    """Where the annotations are asked for masks, for each of the T frames, and where the video ends."""
    video, numbers = job.video, state["numbers"]
    if video.by_seconds:
        return [index / fps for index in range(len(numbers))], len(numbers) / fps + 1 / fps
    if job.media.video is None or video.pictures is None:
        return numbers, state["total"]
    # Pictures of a video file: the newest that the annotations list when the frame shows.
    listed = video.numbers or range(len(video.pictures))
    held = [bisect.bisect_right(listed, number) - 1 for number in numbers]
    older = sum(index < 0 or listed[index] != number for index, number in zip(held, numbers, strict=True))
    findings.add(
        "frames that are not among the annotated pictures, and take the masks before", video.where, older
    )
    return held, sum(number < state["total"] for number in listed)
