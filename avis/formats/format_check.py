"""What is wrong with the content of an AVISeg annotation file, found without opening any other file.

Dimensions: T frames of a video.
"""

import itertools
import math
import re
from collections.abc import Iterator
from pathlib import PureWindowsPath

from avis.formats.foreign import foreign_format
from avis.formats.segmentation import check_segmentation

# Pixels of the largest picture that can be read, by Pillow's limit against decompression bombs.
_MAX_PIXELS = 178_956_970
# Paths of the right form as nearly all are; others are looked at more closely.
_PLAIN_PATH = re.compile(r"[^/\\:.][^/\\:]*(/[^/\\:.][^/\\:]*)+")


def format_problems(content: object) -> Iterator[str]:
    """Yield every violation of the AVISeg format in a parsed annotation file, one sentence each."""
    if foreign := foreign_format(content):
        yield foreign
        return
    if not isinstance(content, dict):
        yield f"the file holds a {type(content).__name__}, not an object with 'videos' and 'categories'"
        return
    tables = [_table(content, "videos"), _table(content, "categories"), _table(content, "annotations")]
    for table in tables:
        if isinstance(table, str):
            yield table
    if any(isinstance(table, str) for table in tables):
        return
    videos, categories, annotations = tables
    yield from _category_problems(categories)
    yield from _video_problems(videos)
    yield from _annotation_problems(annotations, videos, categories)


def is_finite_number(value: object) -> bool:
    """Whether a value of JSON is a number that a float can hold."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def _table(content: dict, key: str) -> list[dict] | str:
    """The list under a key, or what is wrong with it. Test splits may lack annotations."""
    table = content.get(key)
    if table is None and key == "annotations":
        return []
    if table is None:
        return f"the key {key!r:.80} is missing"
    if not isinstance(table, list) or not all(isinstance(entry, dict) for entry in table):
        return f"{key!r:.80} is not a list of objects"
    if not table and key != "annotations":
        return f"{key!r:.80} is empty"
    return table


def _category_problems(categories: list[dict]) -> Iterator[str]:
    yield from _key_problems(categories, "category", ("id", "name"))
    yield from _value_problems(categories, "category", "id", int)
    yield from _value_problems(categories, "category", "name", str)


def _video_problems(videos: list[dict]) -> Iterator[str]:
    yield from _key_problems(videos, "video", ("id", "height", "width", "file_names"))
    yield from _value_problems(videos, "video", "id", (int, str))
    for video in videos:
        where = f"video {video.get('id')!r:.80}"
        for problem in (*_size_problems(video), *_file_name_problems(video), *_start_problems(video)):
            yield f"{where}: {problem}"


def _size_problems(video: dict) -> Iterator[str]:
    sizes = {key: video[key] for key in ("height", "width") if key in video}
    for key, size in sizes.items():
        if type(size) is not int or size < 1:
            yield f"{key} is {size!r:.40}, not a positive integer"
            return
    if math.prod(sizes.values()) > _MAX_PIXELS:
        yield f"{'×'.join(map(str, sizes.values())):.40} pixels are more than a picture may have"


def _file_name_problems(video: dict) -> Iterator[str]:
    names = video.get("file_names", ["-/-"])
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        yield "file_names is not a list of at least one path"
        return
    if video.get("length", len(names)) != len(names):
        yield f"length is {video['length']!r:.80}, but there are {len(names)} file_names"
    for name in itertools.filterfalse(_PLAIN_PATH.fullmatch, names):
        path = PureWindowsPath(name)  # understands both kinds of separators
        if path.anchor or ".." in path.parts:
            yield f"file name {name!r:.80} leaves the folder of the data set"
        elif len(path.parts) < 2:
            yield f"file name {name!r:.80} is not of the form <video>/<frame>"


def _start_problems(video: dict) -> Iterator[str]:
    start = video.get("start")
    if start is not None and (not is_finite_number(start) or start < 0):
        yield f"start is {start!r:.40}, not the second of its sound at which the video begins"


def _annotation_problems(
    annotations: list[dict], videos: list[dict], categories: list[dict]
) -> Iterator[str]:
    yield from _key_problems(annotations, "annotation", ("id", "video_id", "category_id", "segmentations"))
    yield from _value_problems(annotations, "annotation", "id", int)
    video_of = {repr(video.get("id")): video for video in videos}
    category_ids = {repr(category.get("id")) for category in categories}
    for annotation in annotations:
        where = f"annotation {annotation.get('id')!r:.80} of video {annotation.get('video_id')!r:.80}"
        if "category_id" in annotation and repr(annotation["category_id"]) not in category_ids:
            yield f"{where}: category {annotation['category_id']!r:.80} is not among the categories"
        if annotation.get("iscrowd", 0) not in (0, 1):
            yield f"{where}: iscrowd is {annotation['iscrowd']!r:.40}, neither 0 nor 1"
        video = video_of.get(repr(annotation.get("video_id")))
        if video is None:
            yield f"{where}: there is no such video"
        else:
            for problem in _per_frame_problems(annotation, video):
                yield f"{where}: {problem}"


def _per_frame_problems(annotation: dict, video: dict) -> Iterator[str]:
    if not {"height", "width"} <= video.keys() or not isinstance(video.get("file_names"), list):
        return
    length = len(video["file_names"])
    for key in ("segmentations", "bboxes", "areas"):
        values = annotation.get(key)
        if key not in annotation or (values is None and key != "segmentations"):
            continue
        if not isinstance(values, list) or len(values) != length:
            count = len(values) if isinstance(values, list) else "no"
            yield f"{count} {key} for {length} frames (a silent frame has null)"
            return
    areas = annotation.get("areas") or []
    if not all(area is None or (is_finite_number(area) and area >= 0) for area in areas):
        yield "'areas' holds something that is no number of pixels"
    if not all(not box or _is_list_of_numbers(box) for box in annotation.get("bboxes") or []):
        yield "'bboxes' holds something that is no list of numbers"
    for frame, mask in enumerate(annotation.get("segmentations", [])):
        if not mask:
            continue
        try:
            check_segmentation(mask, video["height"], video["width"])
        except ValueError as error:
            yield f"frame {frame} ({video['file_names'][frame]}): {error}"


def _is_list_of_numbers(value: object) -> bool:
    return isinstance(value, list) and all(map(is_finite_number, value))


def _key_problems(entries: list[dict], kind: str, keys: tuple[str, ...]) -> Iterator[str]:
    for position, entry in enumerate(entries):
        for key in keys:
            if key not in entry:
                yield f"{kind} {entry.get('id', f'number {position}')!r:.80}: the key {key!r:.80} is missing"


def _value_problems(
    entries: list[dict], kind: str, key: str, types: type | tuple[type, ...]
) -> Iterator[str]:
    """Values of other types, and values that two entries share."""
    seen = set()
    for entry in entries:
        if key not in entry:
            continue
        value = entry[key]
        if not isinstance(value, types) or isinstance(value, bool):
            yield f"{kind} {key} {value!r:.40} is of the wrong type"
        elif value in seen:
            yield f"{kind} {key} {value!r:.80} is used twice"
        else:
            seen.add(value)
