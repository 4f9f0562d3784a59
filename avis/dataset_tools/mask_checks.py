"""What is wrong with the masks of a video, their areas, boxes and coordinates.

Dimensions: T frames of a video, N tracks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from avis.dataset_tools.problems import ERROR, WARNING, Problem
from avis.formats.rle import measure_rles
from avis.formats.segmentation import compress_segmentation, explain_coverage
from avis.formats.tracks import Video
from avis.structures import RLE

# Areas and boxes may differ by so many pixels, and by this share: outlines are counted in several ways.
_AREA_SLACK, _AREA_SHARE = 4, 0.1
_BOX_SLACK, _BOX_SHARE = 2, 0.02
# Numbers of the smallest polygon.
_TRIANGLE = 6
# Outlines may reach so many pixels beyond the frame.
_OUTLINE_SLACK = 2
# Coordinates of percent are told in frames at least this large, if nearly all are so small.
_PERCENT_SIZE, _PERCENT_SHARE, _PERCENT_REACH = 150, 0.95, 50


@dataclass(frozen=True)
class CheckedTrack:
    """The masks of an annotation, as far as they can be read.

    Attributes:
        entry: the annotation.
        masks: T RLEs, None where there is no mask with a pixel.
        areas: pixels of each mask, int64 (T,).
        empty: frames whose mask has no pixel.
        malformed: what is wrong with the mask of a frame.
    """

    entry: dict[str, Any]
    masks: list[RLE | None]
    areas: np.ndarray
    empty: list[int]
    malformed: dict[int, str]


def read_track(entry: dict[str, Any], video: Video) -> CheckedTrack:
    """Read the masks of an annotation of the right format."""
    rles: list[RLE | None] = []
    malformed, empty = {}, []
    for frame, segmentation in enumerate(entry["segmentations"]):
        rle = None
        try:
            rle = compress_segmentation(segmentation, video.height, video.width)
        except ValueError as error:
            malformed[frame] = str(error)
        if rle is None and segmentation and frame not in malformed:
            empty.append(frame)
        rles.append(rle)
    areas = np.zeros(video.length, np.int64)
    present = [frame for frame, rle in enumerate(rles) if rle is not None]
    measured = measure_rles([rles[frame]["counts"] for frame in present])
    for frame, area, covered in zip(present, *(values.tolist() for values in measured), strict=True):
        areas[frame] = area
        if covered not in (0, video.height * video.width):
            malformed[frame] = explain_coverage(covered, video.height, video.width)
        elif not area:
            empty.append(frame)
        else:
            continue
        areas[frame], rles[frame] = 0, None
    return CheckedTrack(entry, rles, areas, sorted(empty), malformed)


def mask_problems(tracks: Sequence[CheckedTrack], video: Video) -> Iterator[Problem]:
    """Yield what is wrong with the masks of a video, one by one and together."""
    for track in tracks:
        where = f"video {video.id!r} annotation {track.entry['id']!r}"
        for frame, message in sorted(track.malformed.items()):
            yield Problem(ERROR, "malformed mask", where, f"{where} frame {frame}: {message}")
        for frame in track.empty:
            message = f"{where} frame {frame}: the mask has no pixel and counts as null"
            yield Problem(WARNING, "empty mask", where, message)
        yield from _area_problems(track, where)
        yield from _box_problems(track, where)
        yield from _outline_problems(track, video, where)
    yield from _duplicate_problems(tracks, video)


def wrong_areas(track: CheckedTrack) -> list[int]:
    """Frames whose area is not that of the mask."""
    areas = track.entry.get("areas") or []
    return [
        frame
        for frame, (written, area) in enumerate(zip(areas, track.areas.tolist(), strict=False))
        if area and written is not None and abs(written - area) > _AREA_SLACK + _AREA_SHARE * area
    ]


def wrong_boxes(track: CheckedTrack) -> list[int]:
    """Frames whose box is not that of the mask."""
    boxes = track.entry.get("bboxes") or []
    return [
        frame
        for frame, (written, mask) in enumerate(zip(boxes, track.masks, strict=False))
        if mask is not None and written and not _is_box_of(written, box_of(mask))
    ]


def box_of(mask: RLE) -> list[float]:
    """x, y, width and height of a mask."""
    return coco_mask.toBbox(mask).tolist()


def duplicates(tracks: Sequence[CheckedTrack]) -> Iterator[tuple[CheckedTrack, CheckedTrack]]:
    """Yield the tracks that have the same masks as an earlier one, which comes first."""
    seen: dict[tuple, CheckedTrack] = {}
    for track in tracks:
        masks = tuple(mask and mask["counts"] for mask in track.masks)
        if any(masks):
            first = seen.setdefault(masks, track)
            if first is not track:
                yield first, track


def percent_problems(entries: Sequence[tuple[Video, dict[str, Any]]]) -> Iterator[Problem]:
    """Yield whether nearly all polygons of a file are in fractions or percent of the frame, not in pixels."""
    corners = [
        (max(polygon), min(video.height, video.width))
        for video, entry in entries
        for _, polygon in _polygons(entry)
    ]
    for largest, unit, size in ((1, "fractions", 8), (100, "percent", _PERCENT_SIZE)):
        told = [highest for highest, smallest_side in corners if smallest_side >= size]
        small = [highest for highest in told if highest <= largest]
        is_spread = small and max(small) > largest * _PERCENT_REACH / 100
        if is_spread and len(small) >= _PERCENT_SHARE * len(told):
            message = (
                f"{len(small)} of {len(told)} polygons have coordinates of at most {largest}: they look like "
                f"{unit} of the frame's size; wanted are pixels"
            )
            yield Problem(ERROR, "coordinates in percent", "the file", message)
            return


def _polygons(entry: dict[str, Any]) -> Iterator[tuple[int, list[float]]]:
    """The polygons of an annotation with their frames."""
    for frame, segmentation in enumerate(entry["segmentations"]):
        if isinstance(segmentation, list):
            for polygon in segmentation:
                if isinstance(polygon, list) and len(polygon) >= _TRIANGLE:
                    yield frame, polygon


def _area_problems(track: CheckedTrack, where: str) -> Iterator[Problem]:
    if frames := wrong_areas(track):
        written, area = track.entry["areas"][frames[0]], track.areas[frames[0]]
        message = (
            f"{where}: {len(frames)} areas are wrong, in frame {frames[0]} {written:g}, the mask has {area}"
        )
        yield Problem(ERROR, "wrong area", where, f"{message} pixels")


def _box_problems(track: CheckedTrack, where: str) -> Iterator[Problem]:
    if not (frames := wrong_boxes(track)):
        return
    written, box = track.entry["bboxes"][frames[0]], box_of(track.masks[frames[0]])
    message = f"{where}: {len(frames)} boxes are wrong, in frame {frames[0]} {written}, the mask's is {box}"
    yield Problem(WARNING, "wrong box", where, message + _box_hint(written, box))


def _box_hint(written: list[float], box: list[float]) -> str:
    if len(written) != len(box):
        return ""
    x, y, width, height = written
    if _is_box_of([y, x, height, width], box):
        return " (x and y are swapped)"
    if _is_box_of([x, y, width - x, height - y], box):
        return " (two corners, not a corner and a size)"
    return ""


def _is_box_of(written: list[float], box: list[float]) -> bool:
    slack = _BOX_SLACK + _BOX_SHARE * max(box[2:])
    return len(written) == len(box) and all(abs(a - b) <= slack for a, b in zip(written, box, strict=True))


def _outline_problems(track: CheckedTrack, video: Video, where: str) -> Iterator[Problem]:
    outside = {
        frame: (max(polygon[::2]), max(polygon[1::2]), min(polygon))
        for frame, polygon in _polygons(track.entry)
        if frame not in track.malformed and not _fits(polygon, video.height, video.width)
    }
    if not outside:
        return
    frame, (x, y, lowest) = next(iter(outside.items()))
    swapped = all(
        _fits([x, y, lowest, lowest], video.width, video.height) for x, y, lowest in outside.values()
    )
    message = (
        f"{where}: {len(outside)} outlines leave the frame of {video.height}×{video.width}, in frame {frame} "
        f"from {lowest:g} to x {x:g}, y {y:g}"
    )
    if swapped:
        yield Problem(ERROR, "x and y swapped", where, f"{message}: x and y look swapped")
    else:
        yield Problem(WARNING, "outline beyond the frame", where, message)


def _fits(polygon: list[float], height: int, width: int) -> bool:
    is_inside = min(polygon) >= -_OUTLINE_SLACK
    x, y = max(polygon[::2]), max(polygon[1::2])
    return is_inside and x <= width + _OUTLINE_SLACK and y <= height + _OUTLINE_SLACK


def _duplicate_problems(tracks: Sequence[CheckedTrack], video: Video) -> Iterator[Problem]:
    for first, track in duplicates(tracks):
        where = f"video {video.id!r} annotation {track.entry['id']!r}"
        message = f"{where}: the object is a duplicate of annotation {first.entry['id']!r}, mask by mask"
        yield Problem(ERROR, "duplicated object", where, message)
