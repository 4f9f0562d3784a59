"""A split in the AVISeg format, made of annotated videos in any format.

Dimensions: T frames of a video, N objects.
"""

import bisect
import logging
import math
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
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
from avis.formats.readers.common import Findings, Size, SourceObject, SourceSet, SourceVideo
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
    _read: list[list[SourceObject]] = field(default_factory=list, init=False)

    def keep_objects(self, size: Size) -> list[SourceObject]:
        """The objects in pictures of a size, which are read once: the next call of `objects` has the same."""
        self._read[:] = [list(self.video.objects(size))]
        return self._read[0]

    def objects(self, size: Size) -> list[SourceObject]:
        """The objects in pictures of a size."""
        return self._read.pop() if self._read else list(self.video.objects(size))


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
        FileExistsError: what is read lies where the split would be put.
        MissingMediaError: a video has no files.
        ValueError: videos of one name; or annotations or media cannot be used; the message names the place.
    """
    jobs = list(_jobs(sources, media, findings, skip_missing))
    if not jobs:
        raise ValueError("no video is left to convert")
    for job in jobs:
        target.keep_apart([*filter(None, (job.media.video, job.media.sound)), *job.media.pictures[:1]])
    fps, categories = media.options.fps, _categories(sources)
    # Pictures are known before they are copied: what is wrong with their masks is told first.
    early = [job for job in jobs if job.media.video is None]
    for job in early:
        _compare_lengths(job, findings)
    masks = _annotate(early, [_state_of_pictures(job, fps) for job in early], fps, categories, findings)
    for job in jobs:
        _check_listed_masks(job)
    states = _make_files(jobs, fps, target, findings)
    late = [job for job in jobs if job.media.video is not None]
    masks |= _annotate(late, [states[job.number] for job in late], fps, categories, findings)
    content = _content(jobs, states, sources, categories, masks)
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
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.iterdir():
        if left.is_file():  # folders are of other videos
            left.unlink()
    make = _copy_pictures if job.media.video is None else _cut
    state = {**make(job, folder, fps, advance), "version": version, "findings": []}
    if job.media.sound is not None:
        seconds = state["start"] + len(state["names"]) / fps
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
    kept = _annotated_part(job, cut.numbers, str(job.media.video))
    for index in set(range(len(cut.names))) - set(kept):
        (folder / cut.names[index]).unlink()
    annotated = job.video.size
    if annotated is not None and annotated != cut.size:
        raise ValueError(
            f"{job.video.where}: annotated at {annotated[0]}×{annotated[1]}, and {job.media.video} is "
            f"{cut.size[0]}×{cut.size[1]}"
        )
    return {
        "names": [cut.names[index] for index in kept],
        "numbers": [cut.numbers[index] for index in kept],
        "total": cut.total,
        "size": list(cut.size),
        "start": job.video.extra.get("start", 0) + kept[0] / fps,
    }


def _copy_pictures(job: _Job, folder: Path, fps: float, advance: Callable[[], Any]) -> dict[str, Any]:
    state = _state_of_pictures(job, fps)
    files = {file.name: file for file in job.media.pictures}
    for name in state["names"]:
        read_picture(files[name], tuple(state["size"]))
        shutil.copyfile(files[name], folder / name)
        advance()
    return state


def _state_of_pictures(job: _Job, fps: float) -> dict[str, Any]:
    """What is known of a video of pictures, before they are copied."""
    media = job.media
    numbers = [media.numbers[index] for index in media.chosen]
    kept = _annotated_part(job, numbers, str(media.pictures[0].parent))
    files = [media.pictures[media.chosen[index]] for index in kept]
    names = [file.name for file in files]
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise ValueError(f"{job.video.where}: two of its pictures are called {twice[0]}")
    return {
        "names": names,
        "numbers": [numbers[index] for index in kept],
        "total": media.numbers[-1] + 1,
        "size": list(job.video.size or read_picture(files[0]).shape[:2]),
        "start": job.video.extra.get("start", 0) + kept[0] / fps,
    }


def _annotated_part(job: _Job, numbers: Sequence[int], media: str) -> list[int]:
    """Which of the frames, of these numbers, are of the part of the video that was annotated."""
    first, last = job.video.span or (0, math.inf)
    kept = [index for index, number in enumerate(numbers) if first <= number <= last]
    if not kept:
        raise ValueError(
            f"{job.video.where}: none of the {len(numbers)} frames of {media} is one of {first} … {last}, "
            "which are annotated: perhaps --fps is too low"
        )
    return kept


def _compare_lengths(job: _Job, findings: Findings) -> None:
    """Tell of a video annotated by its own frames, of which there are pictures at another rate."""
    video = job.video
    if video.named_by_frame and video.span is not None and 2 * job.media.numbers[-1] < video.span[1]:
        findings.add(
            "videos that were annotated frame by frame, and have pictures of few of these: their masks are "
            "of other moments (--videos takes the video itself)",
            f"{video.where}: frames up to {video.span[1]}, {len(job.media.pictures)} pictures",
        )


def _check_listed_masks(job: _Job) -> None:
    """Refuse malformed masks of a video's listed pictures before it is cut."""
    video = job.video
    if job.media.video is None or video.pictures is None or video.size is None:
        return
    shape = Video(job.number, *video.size, list(video.pictures))
    objects = job.keep_objects(video.size)
    masks = [[found.mask_at(index) for index in range(len(video.pictures))] for found in objects]
    read_masks(masks, [f"{video.where}, an object of {found.category!r}" for found in objects], shape)


def _annotate(
    jobs: Sequence[_Job],
    states: Sequence[dict[str, Any]],
    fps: float,
    categories: dict[str, int],
    findings: Findings,
) -> dict[int, list[dict[str, Any]]]:
    """The annotations of videos by the numbers of their jobs, without the ids of videos and their own."""
    found, outlines = {}, []
    bar = tqdm(jobs, "annotations", unit="video", delay=2, mininterval=_QUIET_SECONDS / 30)
    for job, state in zip(bar, states, strict=True):
        found[job.number] = _entries(job, state, fps, categories, findings, outlines)
    for problem in percent_problems(outlines):
        raise ValueError(problem.message)
    return found


def _content(
    jobs: Sequence[_Job],
    states: Sequence[dict[str, Any]],
    sources: Sequence[SourceSet],
    categories: dict[str, int],
    entries: dict[int, list[dict[str, Any]]],
) -> dict[str, Any]:
    """Videos, categories and annotations of the JSON."""
    keeps_ids = len(sources) == 1 and all(job.video.id is not None for job in jobs)
    videos, annotations = [], []
    for job, state in zip(jobs, states, strict=True):
        video_id = job.video.id if keeps_ids else job.number + 1
        videos.append(_video(job, state, video_id))
        for entry in entries[job.number]:
            annotations.append({"id": len(annotations) + 1, "video_id": video_id, **entry})
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
        **({"start": state["start"]} if state["start"] else {}),
    }


def _entries(
    job: _Job,
    state: dict[str, Any],
    fps: float,
    categories: dict[str, int],
    findings: Findings,
    outlines: list[tuple[Video, dict[str, Any]]],
) -> list[dict[str, Any]]:
    """The annotations of a video, without ids; `outlines` receives those of its masks that are polygons."""
    positions, end = _positions(job, state, fps, findings)
    objects = job.objects(tuple(state["size"]))
    for found in objects:
        beyond = sum(position >= end for position in found.positions)
        findings.add(
            "masks beyond the last frame, left out", f"{job.video.where}, of {found.category!r}", beyond
        )
    masks = [[None if at < 0 else found.mask_at(at) for at in positions] for found in objects]
    names = [f"{job.video.where}, an object of {found.category!r}" for found in objects]
    shape = Video(job.number, *state["size"], [f"{job.video.name}/{name}" for name in state["names"]])
    polygons = ([mask for mask in of_object if isinstance(mask, list)] for of_object in masks)
    outlines += [(shape, {"segmentations": listed}) for listed in polygons if listed]
    entries = []
    for found, measured in zip(objects, read_masks(masks, names, shape), strict=True):
        findings.add("masks without a pixel, left out", job.video.where, int(measured.nullified.sum()))
        if not measured.areas.any():
            findings.add("objects that neither sound nor show in any frame, left out", job.video.where)
            continue
        entries.append(_entry(found, measured, shape, categories))
    tracks = [read_track({"id": number, **entry}, shape) for number, entry in enumerate(entries)]
    twice = {track.entry["id"] for _, track in duplicates(tracks)}
    findings.add("objects that are there twice, left out", job.video.where, len(twice))
    return [entry for number, entry in enumerate(entries) if number not in twice]


def _entry(
    found: SourceObject, measured: MeasuredMasks, video: Video, categories: dict[str, int]
) -> dict[str, Any]:
    masks = list(measured.masks)
    return {
        "category_id": categories[found.category],
        "iscrowd": int(found.is_crowd),
        "height": video.height,
        "width": video.width,
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
