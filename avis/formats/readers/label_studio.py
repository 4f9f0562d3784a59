"""Label Studio's JSON export: brushes, polygons, boxes and ellipses on pictures, and boxes through videos.

Format: labelstud.io/guide/export, type "JSON" (not "JSON-MIN"). Coordinates are percent of the picture.
Frames are counted from 1, at the rate that `framesCount` and `duration` tell. It need not be the video's own,
so positions in videos are seconds. A brush is an RGBA picture in the coding of @thi.ng/rle-pack. Its alpha is
the mask.

Dimensions: H×W pictures, K keyframes of a box.
"""

import re
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

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
    image_size,
    name_of_file,
    rectangle,
    safe_path,
    table,
)

_VIDEO_BOX = "videorectangle"
_PICTURE_SHAPES = {
    "brush": "brushlabels",
    "brushlabels": "brushlabels",
    "polygon": "polygonlabels",
    "polygonlabels": "polygonlabels",
    "rectangle": "rectanglelabels",
    "rectanglelabels": "rectanglelabels",
    "ellipse": "ellipselabels",
    "ellipselabels": "ellipselabels",
}
# Results that say something of a task or of a region, and draw nothing.
_WORDS = ("choices", "textarea", "rating", "number", "taxonomy", "datetime", "labels", "relation", "pairwise")
# What Label Studio puts before the name of a file that is uploaded.
_UPLOADED = re.compile(r"^[0-9a-f]{8}-")
_VIDEO_TYPES = (
    ".mp4",
    ".m4v",
    ".mov",
    ".mkv",
    ".webm",
    ".avi",
    ".mpg",
    ".mpeg",
    ".ts",
    ".3gp",
    ".flv",
    ".ogg",
)


def read_label_studio(path: Path, content: Any, options: ReadOptions, findings: Findings) -> SourceSet:
    """Read an export.

    Raises:
        ValueError: it is malformed, or of a kind without masks; the message names the file and the task.
    """
    labels: dict[str, None] = {}
    videos = []
    for position, task in enumerate(table({"tasks": content}, "tasks", str(path), ("data",))):
        where = f"{path}: task {task.get('id', position)!r}"
        if "annotations" not in task:
            raise ValueError(f"{where}: there are no 'annotations'; export as JSON, not as JSON-MIN")
        results = _results(task, where, findings)
        tags = _labels_of_regions(results)
        videos.append(_video(task, results, tags, where, options, findings))
        labels.update(dict.fromkeys(label for result in results if (label := _label(result, tags))))
    if not labels:
        raise ValueError(f"{path}: there is no shape with a label in it")
    return SourceSet(dict(enumerate(labels, start=1)), videos, (path.parent / "images", path.parent))


def _results(task: dict, where: str, findings: Findings) -> list[dict]:
    """What an annotator has drawn; of several, the first whose work was not cancelled."""
    annotations = [a for a in table(task, "annotations", where) if not a.get("was_cancelled")]
    findings.add("tasks of several annotators, of whom the first counts", where, int(len(annotations) > 1))
    findings.add("tasks that nobody has annotated", where, int(not annotations))
    if not annotations:
        return []
    return table(annotations[0], "result", where)


def _labels_of_regions(results: list[dict]) -> dict[Any, Any]:
    """The labels of regions by their ids, where these are results of their own (<Labels> with <Polygon>)."""
    tags = (result for result in results if result.get("type") == "labels")
    return {tag.get("id"): tag["value"].get("labels") for tag in tags if isinstance(tag.get("value"), dict)}


def _label(result: dict, tags: Mapping[Any, Any]) -> str | None:
    value = result.get("value") if isinstance(result.get("value"), dict) else {}
    kind = result.get("type")
    if kind != _VIDEO_BOX and kind not in _PICTURE_SHAPES:
        return None
    names = value.get("labels" if kind == _VIDEO_BOX else _PICTURE_SHAPES[kind]) or tags.get(result.get("id"))
    return names[0] if isinstance(names, list) and names and isinstance(names[0], str) else None


def _video(
    task: dict,
    results: list[dict],
    tags: Mapping[Any, Any],
    where: str,
    options: ReadOptions,
    findings: Findings,
) -> SourceVideo:
    file = _file(task, where)
    is_video = Path(file).suffix.lower() in _VIDEO_TYPES
    words = _words_of_regions(results)
    shapes = []
    for number, result in enumerate(results):
        place = f"{where}: result[{number}]"
        kind = result.get("type")
        if kind in _WORDS:
            continue
        if kind != _VIDEO_BOX and kind not in _PICTURE_SHAPES:
            findings.add(f"shapes of the type {kind!r:.40}, which are no masks, left out", place)
            continue
        if (kind == _VIDEO_BOX) != is_video:
            raise ValueError(f"{place}: a {kind} does not belong to {file}")
        label = _label(result, tags)
        if label is None:
            findings.add("shapes without a label, left out", place)
        elif options.sounding.of(words.get(result.get("id"), {}), place):
            shapes.append((label, result, place))
    size = next((_size(result, place) for _, result, place in shapes if "original_height" in result), None)
    # Parsed now, so that what is malformed is told before anything is written.
    make = _moving_box if is_video else _still
    parsed = [(label, make(result, place, size, findings)) for label, result, place in shapes]

    def objects(size: Size) -> Iterable[SourceObject]:
        for label, shape in parsed:
            if is_video:
                yield SourceObject(label, partial(_box_at, shape, size), shape[shape[:, 1] > 0, 0].tolist())
            else:
                yield SourceObject(label, {0: shape}.get, [0])

    own = PurePosixPath(file).with_name(_UPLOADED.sub("", Path(file).name) or Path(file).name).as_posix()
    name = name_of_file(own)
    names = (file, name_of_file(file), name_of_file(Path(file).name), name, Path(name).name)
    if is_video:
        return SourceVideo(name, where, objects, size, by_seconds=True, files=names)
    return SourceVideo(name, where, objects, size, pictures=[file], uploaded=[own])


def _file(task: dict, where: str) -> str:
    """The file of a task, without what stands before it: an upload's folder, a bucket, a server."""
    data = task["data"] if isinstance(task["data"], dict) else {}
    values = [value for value in data.values() if isinstance(value, str) and Path(value.split("?")[0]).name]
    preferred = [data[key] for key in ("video", "image") if isinstance(data.get(key), str)]
    if not preferred + values:
        raise ValueError(f"{where}: its data name no file: {sorted(data)!r:.80}")
    address = urlsplit((preferred + values)[0])
    local = parse_qs(address.query).get("d")
    if local:
        return safe_path(local[0], f"{where}: data")
    name = unquote(address.path)
    is_remote = address.scheme or name.startswith("/data/upload/")
    return safe_path(Path(name).name if is_remote else name, f"{where}: data")


def _words_of_regions(results: list[dict]) -> dict[Any, dict[str, Any]]:
    """What choices and texts say of each region, by its id and their names."""
    found: dict[Any, dict[str, Any]] = {}
    for result in results:
        value = result.get("value")
        if result.get("type") in ("choices", "textarea") and isinstance(value, dict):
            said = value.get("choices") or value.get("text") or []
            said = said[0] if isinstance(said, list) and said else said
            found.setdefault(result.get("id"), {})[str(result.get("from_name"))] = said or None
    return found


def _size(result: dict, where: str) -> Size:
    size = image_size({"height": result["original_height"], "width": result.get("original_width")}, where)
    if size is None:
        raise ValueError(f"{where}: original_height and original_width are missing")
    if result.get("image_rotation"):
        raise ValueError(f"{where}: the picture was turned in Label Studio; turn it back, and export again")
    return size


def _still(result: dict, where: str, size: Size | None, findings: Findings) -> Any:
    """The mask of a shape on a picture, as JSON has masks."""
    if size is None or "original_height" not in result:
        raise ValueError(f"{where}: original_height and original_width are missing")
    if _size(result, where) != size:
        raise ValueError(f"{where}: the picture is of another size than in the task's other results")
    value, kind = result["value"], _PICTURE_SHAPES[result["type"]]
    if kind == "brushlabels":
        return encode(_brush(value, size, where))
    try:
        return _outline(value, kind, size, where, findings)
    except (KeyError, TypeError, ValueError) as error:
        if str(error).startswith(where):
            raise
        raise ValueError(f"{where}: the {kind} is malformed ({error!r})") from error


def _outline(
    value: Mapping[str, Any], kind: str, size: Size, where: str, findings: Findings
) -> list[list[float]]:
    across, down = size[1] / 100, size[0] / 100
    if kind == "polygonlabels":
        points = np.array(value["points"], float).reshape(-1, 2) * (across, down)
        if len(points) < 3:
            findings.add("polygons of fewer than three points, left out", where)
            return []
        return [points.ravel().tolist()]
    turn, x, y = float(value.get("rotation") or 0), float(value["x"]), float(value["y"])
    if kind == "ellipselabels":
        radii = float(value["radiusX"]) * across, float(value["radiusY"]) * down
        return [ellipse(x * across, y * down, *radii, turn)]
    findings.add(BOXES, where)
    sides = float(value["width"]) * across, float(value["height"]) * down
    return [rectangle(x * across, y * down, *sides, turn)]


def _brush(value: Mapping[str, Any], size: Size, where: str) -> np.ndarray:
    rle = value.get("rle")
    if not isinstance(rle, list) or not all(type(v) is int and 0 <= v < 256 for v in rle):
        raise ValueError(f"{where}: the rle of a brush is a list of bytes")
    try:
        values = unpack_brush(rle, 4 * size[0] * size[1])
    except ValueError as error:
        raise ValueError(
            f"{where}: the rle of a brush {error}, the picture is {size[0]}×{size[1]}"
        ) from error
    return values.reshape(*size, 4)[..., 3] > 0


def unpack_brush(rle: list[int], length: int) -> np.ndarray:
    """Decode @thi.ng/rle-pack: bytes of bits, uint8 (length,).

    The head says how many values there are, how many bits one has, and how many each of four kinds of counts.
    Then come blocks: a bit whether one value is repeated, two for the kind of count, the count, the values.

    Raises:
        ValueError: there are not as many values, or the bits end too early.
    """
    bits = "".join(f"{byte:08b}" for byte in rle)
    place = 0

    def take(count: int) -> int:
        nonlocal place
        if place + count > len(bits):
            raise ValueError("is cut off")
        place += count
        return int(bits[place - count : place], 2)

    if (number := take(32)) != length:
        raise ValueError(f"has {number // 4} pixels")
    word = take(5) + 1
    kinds = [take(4) + 1 for _ in range(4)]
    parts, reached = [], 0
    while reached < number:
        repeats, kind = take(1), take(2)
        count = take(kinds[kind]) + 1
        parts.append([take(word)] * count if repeats else [take(word) for _ in range(count)])
        reached += count
    return np.concatenate([np.array(part) for part in parts])[:number].astype(np.uint8)


def _moving_box(result: dict, where: str, _: Size | None, findings: Findings) -> np.ndarray:
    """The keyframes of a box, float (K, 7): second, whether it is there, x, y, width, height, degrees."""
    value = result["value"]
    try:
        count, duration = float(value["framesCount"]), float(value["duration"])
        keys = sorted(value["sequence"], key=lambda key: key["frame"])
        boxes = [
            [
                (key["frame"] - 1) * duration / count,
                float(bool(key.get("enabled", True))),
                *(float(key[name]) for name in ("x", "y", "width", "height")),
                float(key.get("rotation") or 0),
            ]
            for key in keys
        ]
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ValueError(f"{where}: the {_VIDEO_BOX} is malformed ({error!r})") from error
    if count <= 0 or duration <= 0 or not np.isfinite([count, duration]).all():
        raise ValueError(f"{where}: framesCount and duration do not tell the rate of the frames")
    if not np.isfinite(boxes).all():
        raise ValueError(f"{where}: the {_VIDEO_BOX} has coordinates that are no numbers")
    findings.add(BOXES, where, len(boxes))
    return np.array(boxes).reshape(-1, 7)


def _box_at(keys: np.ndarray, size: Size, second: float) -> list[list[float]] | None:
    """The rectangle of a box at a second: evenly moved between keyframes, None after a disabled one."""
    # What was rounded on the way to seconds belongs to the keyframe.
    index = int(np.searchsorted(keys[:, 0], second + 1e-6, side="right")) - 1
    if index < 0:
        return None
    key = keys[index]
    on_key = abs(key[0] - second) <= 1e-6
    if not key[1] and not on_key:
        return None
    if index + 1 < len(keys) and not on_key:
        following = keys[index + 1]
        key = key + (second - key[0]) / (following[0] - key[0]) * (following - key)
    across, down = size[1] / 100, size[0] / 100
    x, y, width, height, turn = key[2:]
    return [rectangle(x * across, y * down, width * across, height * down, turn)]
