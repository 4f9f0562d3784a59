"""CVAT's XML, "CVAT for video 1.1": tracks of polygons, masks, boxes and ellipses over the frames of a video.

Format: docs.cvat.ai, "XML annotation format". A track lists shapes by frame: "keyframe" tells those that were
drawn, "outside" those from which on the object is gone. CVAT writes the frames between keyframes as well.
Where they lack, outlines of as many points are interpolated, as CVAT does, and others are held. The runs of a
mask go along the rows of its own rectangle and begin with background.

Dimensions: P points of an outline.
"""

import bisect
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

import numpy as np

from avis.formats.readers.common import (
    BOXES,
    Findings,
    ReadOptions,
    Size,
    SourceObject,
    SourceSet,
    SourceVideo,
    ellipse,
    encode,
    name_of_file,
    rectangle,
    safe_path,
)

_SHAPES = ("polygon", "mask", "box", "ellipse")
_OTHERS = ("polyline", "points", "cuboid", "skeleton")


@dataclass(frozen=True)
class _Mask:
    """A mask within its rectangle, bool."""

    left: int
    top: int
    crop: np.ndarray


@dataclass(frozen=True)
class _Shape:
    """What a track has in a frame: an outline float (P, 2), a mask, or nothing."""

    frame: int
    outline: np.ndarray | _Mask | None
    sounds: bool
    where: str


@dataclass
class _Task:
    """A task of CVAT, which is a video or a list of pictures."""

    name: str
    where: str
    size: Size | None
    files: tuple[str, ...]
    span: tuple[int, int] | None
    is_video: bool
    tracks: list[tuple[str, list[_Shape]]] = field(default_factory=list)


def read_cvat(path: Path, _: Any, options: ReadOptions, findings: Findings) -> SourceSet:
    """Read the XML of one task, or of a project with several.

    Raises:
        ValueError: it is malformed, or another of CVAT's formats; the message names the file and the track.
    """
    labels: dict[str, None] = {}
    tasks: dict[str, _Task] = {}
    for element in _elements(path):
        if element.tag == "meta":
            labels.update(dict.fromkeys(_labels(element)))
            tasks = _with_own_names(dict(_tasks(element, path)))
        elif element.tag == "image":
            raise ValueError(
                f'{path}: this is "CVAT for images 1.1"; export as "CVAT for video 1.1" or "COCO 1.0"'
            )
        elif element.tag == "track":
            task = _task_of(element, tasks, path)
            label, shapes = _track(element, task.size, path, options, findings)
            labels.setdefault(label)
            task.tracks.append((label, shapes))
    if not tasks:
        raise ValueError(f'{path}: there is no <meta> with a <task>: is it "CVAT for video 1.1"?')
    videos = [_video(task, findings) for task in tasks.values()]
    return SourceSet(dict(enumerate(labels, start=1)), videos, (path.parent / "images", path.parent))


def _elements(path: Path) -> Iterator[ElementTree.Element]:
    """The elements below the root, one after the other; each is forgotten after use."""
    depth = 0
    try:
        for event, element in ElementTree.iterparse(path, ("start", "end")):
            depth += 1 if event == "start" else -1
            if event == "start" and depth == 1 and element.tag != "annotations":
                raise ValueError(f"{path}: its root is <{element.tag}>, not CVAT's <annotations>")
            if event == "end" and depth == 1:
                yield element
                element.clear()
    except ElementTree.ParseError as error:
        raise ValueError(f"{path} is not valid XML, perhaps cut off: {error}") from error


def _labels(meta: ElementTree.Element) -> list[str]:
    """The names of the labels; the parts of a skeleton are none."""
    found = [label for label in meta.iter("label") if label.find("parent") is None]
    return [name for label in found if (name := label.findtext("name"))]


def _tasks(meta: ElementTree.Element, path: Path) -> Iterator[tuple[str, _Task]]:
    """The tasks that a file is of, by their ids; of a job's file, the job."""
    found = list(meta.iter("task")) or list(meta.iter("job"))
    for number, element in enumerate(found):
        # A task says its size and source; where it is the only one, they may stand beside it.
        places = (element, meta) if len(found) == 1 else (element,)
        size = next((size for place in places if (size := _size(place.find("original_size"), path))), None)
        source = next((text for place in places if (text := place.findtext("source"))), None)
        own = element.findtext("name") or path.stem
        # CVAT lets a task have any name: what separates folders is no folder there.
        name = own.replace("/", "_").replace("\\", "_")
        files = (name, name_of_file(name))
        where = f"{path}: task {own!r}"
        if source:
            file = PurePosixPath(safe_path(source, f"{path}: the source of task {own!r}"))
            name = file.stem
            files = (name, file.with_suffix("").as_posix(), *files)
        task = _Task(safe_path(name, where), where, size, files, _span(element, where), bool(source))
        yield element.findtext("id") or str(number), task


def _span(task: ElementTree.Element, where: str) -> tuple[int, int] | None:
    """The first and the last frame of the video that a task shows; None where it does not say."""
    texts = [task.findtext(key) for key in ("start_frame", "stop_frame")]
    if not all(texts):
        return None
    first, last = (_whole(text, f"{where}: start_frame or stop_frame", least=0) for text in texts)
    step = re.fullmatch(r"\s*step\s*=\s*(\d+)\s*", task.findtext("frame_filter") or "")
    # Each frame that was annotated stands for those up to the next.
    return first, last + max(int(step[1]) if step else 1, 1) - 1


def _with_own_names(tasks: dict[str, _Task]) -> dict[str, _Task]:
    """Tasks by id; those that show parts of one video are called by their own names."""
    shared = Counter(task.name for task in tasks.values())
    for task in tasks.values():
        if shared[task.name] > 1:
            task.name = safe_path(task.files[-2], task.where)
    return tasks


def _size(element: ElementTree.Element | None, path: Path) -> Size | None:
    if element is None:
        return None
    return tuple(
        _whole(element.findtext(key), f"{path}: {key} of original_size") for key in ("height", "width")
    )


def _task_of(track: ElementTree.Element, tasks: dict[str, _Task], path: Path) -> _Task:
    if len(tasks) == 1:
        return next(iter(tasks.values()))
    task = tasks.get(track.get("task_id", ""))
    if task is None:
        raise ValueError(f"{path}: track {track.get('id')!r}: there is no task {track.get('task_id')!r}")
    return task


def _track(
    track: ElementTree.Element, size: Size | None, path: Path, options: ReadOptions, findings: Findings
) -> tuple[str, list[_Shape]]:
    where = f"{path}: track {track.get('id')!r}"
    label = track.get("label")
    if not label:
        raise ValueError(f"{where}: the label is missing")
    of_track = _attributes(track)
    shapes = []
    for element in track:
        if element.tag in _OTHERS:
            findings.add(f"shapes that are {element.tag}s and no masks, left out", where)
        if element.tag not in _SHAPES:
            continue
        frame = _whole(element.get("frame"), f"{where}: the frame of a <{element.tag}>", least=0)
        place = f"{where}, frame {frame}"
        of_track = of_track | _attributes(element)
        gone = element.get("outside") == "1"
        outline = None if gone else _OUTLINES[element.tag](element, place, findings)
        if isinstance(outline, _Mask) and size is not None:
            _check_reach(outline, size, place)
        shapes.append(_Shape(frame, outline, options.sounding.of(of_track, place), place))
    shapes.sort(key=lambda shape: shape.frame)
    return label, shapes


def _attributes(element: ElementTree.Element) -> dict[str, str]:
    found = element.findall("attribute")
    return {attribute.get("name", ""): (attribute.text or "").strip() for attribute in found}


def _polygon(element: ElementTree.Element, where: str, findings: Findings) -> np.ndarray | None:
    text = element.get("points", "")
    try:
        points = np.array([[float(v) for v in pair.split(",")] for pair in text.split(";") if pair])
    except ValueError as error:
        raise ValueError(f"{where}: the points of a polygon are 'x,y;x,y;…', not {text!r:.60}") from error
    if points.size and (points.shape[1:] != (2,) or not np.isfinite(points).all()):
        raise ValueError(f"{where}: the points of a polygon are 'x,y;x,y;…', not {text!r:.60}")
    if len(points) < 3:
        findings.add("polygons of fewer than three points, left out", where)
        return None
    return points


def _box(element: ElementTree.Element, where: str, findings: Findings) -> np.ndarray:
    x, y, right, bottom = _numbers(element, ("xtl", "ytl", "xbr", "ybr"), where)
    findings.add(BOXES, where)
    return _turned(rectangle(x, y, right - x, bottom - y), element, where)


def _ellipse(element: ElementTree.Element, where: str, _: Findings) -> np.ndarray:
    outline = ellipse(*_numbers(element, ("cx", "cy", "rx", "ry"), where))
    return _turned(outline, element, where)


def _turned(polygon: list[float], element: ElementTree.Element, where: str) -> np.ndarray:
    """An outline turned about its middle, by the degrees that its element says."""
    points = np.array(polygon).reshape(-1, 2)
    turn = np.radians(_numbers(element, ("rotation",), where)[0]) if element.get("rotation") else 0.0
    middle = points.mean(axis=0)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return (points - middle) @ rotation + middle


def _mask(element: ElementTree.Element, where: str, _: Findings) -> _Mask:
    left, top = (_whole(element.get(key), f"{where}: {key} of a mask", least=0) for key in ("left", "top"))
    width, height = (_whole(element.get(key), f"{where}: {key} of a mask") for key in ("width", "height"))
    text = element.get("rle", "")
    try:
        runs = [int(run) for run in text.split(",")]
    except ValueError as error:
        raise ValueError(f"{where}: the rle of a mask is 'n, n, …', not {text!r:.60}") from error
    if min(runs) < 0 or sum(runs) != width * height:
        raise ValueError(
            f"{where}: the rle of a mask covers {sum(runs)} pixels, its rectangle has {height}×{width}, "
            f"{width * height}"
        )
    inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return _Mask(left, top, inside.reshape(height, width))


_OUTLINES = {"polygon": _polygon, "mask": _mask, "box": _box, "ellipse": _ellipse}


def _whole(text: str | None, where: str, least: int = 1) -> int:
    if text is None or not text.strip().isdecimal() or int(text) < least:
        raise ValueError(f"{where} is {text!r:.40}, not a whole number of {least} or more")
    return int(text)


def _numbers(element: ElementTree.Element, keys: Iterable[str], where: str) -> list[float]:
    found = []
    for key in keys:
        message = f"{where}: {key} of a <{element.tag}> is {element.get(key)!r:.40}, not a number"
        try:
            found.append(float(element.get(key, "")))
        except ValueError as error:
            raise ValueError(message) from error
        if not math.isfinite(found[-1]):
            raise ValueError(message)
    return found


def _video(task: _Task, findings: Findings) -> SourceVideo:
    if not task.tracks:
        findings.add("videos without any track", task.where)

    def objects(size: Size) -> Iterable[SourceObject]:
        for label, shapes in task.tracks:
            at = partial(_mask_at, shapes, [shape.frame for shape in shapes], size)
            yield SourceObject(label, at, [shape.frame for shape in shapes if shape.outline is not None])

    return SourceVideo(
        task.name,
        task.where,
        objects,
        task.size,
        files=task.files,
        named_by_frame=task.is_video,
        span=task.span,
    )


def _mask_at(shapes: list[_Shape], frames: list[int], size: Size, position: float) -> Any:
    """The mask of a track in a frame, (H, W) = size; None where it is outside or silent."""
    index = bisect.bisect_right(frames, position) - 1
    if index < 0 or shapes[index].outline is None or not shapes[index].sounds:
        return None
    shape, outline = shapes[index], shapes[index].outline
    if isinstance(outline, _Mask):
        return _whole_mask(outline, size, shape.where)
    following = shapes[index + 1] if index + 1 < len(shapes) else shape
    if isinstance(following.outline, np.ndarray) and following.outline.shape == outline.shape:
        part = (position - shape.frame) / max(following.frame - shape.frame, 1)
        outline = outline + part * (following.outline - outline)
    return [outline.ravel().tolist()]


def _check_reach(mask: _Mask, size: Size, where: str) -> None:
    height, width = mask.crop.shape
    if mask.top + height > size[0] or mask.left + width > size[1]:
        raise ValueError(
            f"{where}: a mask reaches to column {mask.left + width} and row {mask.top + height} of a "
            f"picture of {size[0]}×{size[1]}"
        )


def _whole_mask(mask: _Mask, size: Size, where: str) -> Any:
    _check_reach(mask, size, where)
    height, width = mask.crop.shape
    whole = np.zeros(size, np.uint8)
    whole[mask.top : mask.top + height, mask.left : mask.left + width] = mask.crop
    return encode(whole)
