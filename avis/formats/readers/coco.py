"""COCO (pictures) and CocoVID (pictures of videos), as CVAT, MMTracking and others write them.

Lin et al., "Microsoft COCO", 2014: 'images', and 'annotations' of one object in one picture each. CocoVID
adds 'videos', to pictures 'video_id' and 'frame_id', and to annotations 'instance_id'. CVAT writes 'track_id'
among an annotation's 'attributes'. Wherever these stand, they tell which annotations are of one object.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from avis.formats.aviseg import FRAMES
from avis.formats.readers.common import (
    BOXES,
    Findings,
    ReadOptions,
    Size,
    SourceObject,
    SourceSet,
    SourceVideo,
    as_id,
    by_id,
    check_key,
    image_size,
    name_of_file,
    read_categories,
    rectangle,
    safe_path,
    table,
    union,
)
from avis.formats.segmentation import check_segmentation

TRACK_KEYS = ("instance_id", "track_id")
_CVAT_STEM = "instances_default"
_TRIANGLE = 6  # numbers of the smallest polygon


class _Picture(NamedTuple):
    """A picture: its row and place in the file, path, and the annotations in it."""

    row: dict
    where: str
    path: str
    annotations: list[tuple[str, dict]]


def read_coco(path: Path, content: Any, options: ReadOptions, findings: Findings) -> SourceSet:
    """Read COCO or CocoVID.

    Raises:
        ValueError: the content is malformed; the message names the file and the place in it.
    """
    where = str(path)
    kept, names = read_categories(content, where, findings)
    pictures = _pictures(content, where)
    for position, row in enumerate(
        table(
            {"annotations": content.get("annotations") or []},
            "annotations",
            where,
            ("image_id", "category_id"),
        )
    ):
        place = f"{where}: annotations[{position}]"
        row["category_id"] = check_key(row, "category_id", names, place)
        pictures[check_key(row, "image_id", pictures, place)].annotations.append((place, row))
    if not pictures:
        raise ValueError(f"{where}: 'images' is empty")
    groups = _groups(content, list(pictures.values()), path, options.group, findings)
    videos = [_video(name, group, names, options, findings) for name, group in groups.items()]
    return SourceSet(kept, videos, image_roots(path))


def image_roots(path: Path) -> tuple[Path, ...]:
    """The folders where pictures may lie: in COCO train2017 beside annotations, in CVAT's exports images."""
    folder, split = path.parent, path.stem.removeprefix("instances_").removeprefix("annotations_")
    named = [folder / path.stem, folder / split, folder.parent / split]
    images = [folder / "images", folder.parent / "images", folder.parent / "images" / split]
    return (*(root / FRAMES for root in named), *named, folder, *images)


def _pictures(content: Any, where: str) -> dict[Any, _Picture]:
    rows = table(content, "images", where, ("id", "file_name"))
    found = {}
    for position, (picture_id, row) in enumerate(by_id(rows, "images", where).items()):
        place = f"{where}: images[{position}]"
        found[picture_id] = _Picture(row, place, safe_path(row["file_name"], f"{place}: file_name"), [])
    return found


def _groups(
    content: Any, pictures: list[_Picture], path: Path, group: str, findings: Findings
) -> dict[str, list[_Picture]]:
    """The pictures of each video by its name, in the order of time."""
    if content.get("videos") and any("video_id" in picture.row for picture in pictures):
        return _by_video(content, pictures, str(path), findings)
    tracked = any(_track_of(row) is not None for picture in pictures for _, row in picture.annotations)
    by_folder = group == "folders" or (group == "auto" and tracked)
    found: dict[str, list[_Picture]] = defaultdict(list)
    for picture in pictures:
        name = PurePosixPath(picture.path).parent.as_posix() if by_folder else name_of_file(picture.path)
        found[_name_of_file(path) if name == "." else name].append(picture)
    if not by_folder:
        _refuse_shared_names(found)
    return {
        name: sorted(listed, key=lambda picture: _natural(picture.path)) for name, listed in found.items()
    }


def _name_of_file(path: Path) -> str:
    """What to call the video of a file: as the file; CVAT's exports have all one name, so as their folder."""
    export = path.absolute().parent.parent
    is_of_cvat = path.stem == _CVAT_STEM and path.absolute().parent.name == "annotations"
    return export.name if is_of_cvat and export.name else path.stem


def _refuse_shared_names(found: Mapping[str, list[_Picture]]) -> None:
    for name, listed in found.items():
        if len(listed) > 1:
            raise ValueError(f"{listed[1].where}: another picture is called {name!r}, too")


def _by_video(
    content: Any, pictures: list[_Picture], where: str, findings: Findings
) -> dict[str, list[_Picture]]:
    rows = by_id(table(content, "videos", where, ("id",)), "videos", where)
    found: dict[Any, list[_Picture]] = {video_id: [] for video_id in rows}
    for picture in pictures:
        found[check_key(picture.row, "video_id", found, picture.where)].append(picture)
    named = {}
    for position, (video_id, row) in enumerate(rows.items()):
        place = f"{where}: videos[{position}]"
        name = safe_path(str(row.get("name", video_id)), f"{place}: name")
        if name in named:
            raise ValueError(f"{place}: another video is called {name!r}, too")
        if not found[video_id]:
            findings.add("videos without pictures, left out", f"{place} ({name})")
            continue
        named[name] = sorted(found[video_id], key=_frame_number)
        numbers = [_frame_number(picture) for picture in named[name]]
        if twice := [later for earlier, later in pairwise(numbers) if earlier == later]:
            raise ValueError(f"{place}: two pictures are of the frame {twice[0]}")
        gaps = sum(later != earlier + 1 for earlier, later in pairwise(numbers))
        findings.add("gaps in the numbers of frames", f"{place} ({name})", gaps)
    return named


def _frame_number(picture: _Picture) -> int:
    number = picture.row.get("frame_id", _number_in(picture.path))
    if type(number) is not int or number < 0:
        raise ValueError(f"{picture.where}: frame_id is {number!r:.40}, not the number of a frame")
    return number


def _number_in(path: str) -> int | None:
    digits = re.findall(r"\d+", PurePosixPath(path).stem)
    return int(digits[-1]) if digits else None


def _natural(path: str) -> list[tuple[int, int | str]]:
    """A key by which "2.jpg" comes before "10.jpg"."""
    parts = re.split(r"(\d+)", path)
    return [(0, int(part)) if part.isdigit() else (1, part) for part in parts if part]


def _video(
    name: str,
    pictures: Sequence[_Picture],
    names: Mapping[int, str],
    options: ReadOptions,
    findings: Findings,
) -> SourceVideo:
    first = pictures[0]
    size = image_size(first.row, first.where)
    tracks: dict[Any, dict[int, list[tuple[str, dict]]]] = defaultdict(lambda: defaultdict(list))
    for index, picture in enumerate(pictures):
        if (other := image_size(picture.row, picture.where)) != size:
            raise ValueError(
                f"{picture.where}: the picture is {_text(other)}, the first of video {name!r} {_text(size)}"
            )
        for place, row in picture.annotations:
            _check(row, place, size)
            track = _track_of(row)
            key = (place, None) if track is None else (track, row["category_id"], bool(row.get("iscrowd")))
            tracks[key][index].append((place, row))
    numbers = [_number_in(picture.path) for picture in pictures]
    increasing = None not in numbers and all(a < b for a, b in pairwise(numbers))
    if "frame_id" in first.row:
        numbers, increasing = [_frame_number(picture) for picture in pictures], True

    def objects(size: Size) -> Iterable[SourceObject]:
        for frames in tracks.values():
            yield _object(frames, names, size, options, findings)

    return SourceVideo(
        name,
        f"{first.where} (video {name!r})",
        objects,
        size,
        pictures=[picture.path for picture in pictures],
        numbers=numbers if increasing else None,
        files=(name,),
        id=as_id(first.row["video_id"] if "video_id" in first.row else first.row["id"]),
    )


def _object(
    frames: Mapping[int, list[tuple[str, dict]]],
    names: Mapping[int, str],
    size: Size,
    options: ReadOptions,
    findings: Findings,
) -> SourceObject:
    masks: dict[int, Any] = {}
    for index, rows in frames.items():
        sounds = [(place, row) for place, row in rows if options.sounding.of(_attributes(row), place)]
        shapes = [_mask(row, place, findings) for place, row in sounds]
        masks[index] = union(shapes, size, sounds[0][0]) if sounds else None
    _, row = next(iter(frames.values()))[0]
    return SourceObject(names[row["category_id"]], masks.get, list(frames), bool(row.get("iscrowd")))


def _check(row: dict, place: str, size: Size | None) -> None:
    """Refuse what is no mask, before anything is written."""
    if row.get("iscrowd", 0) not in (0, 1):
        raise ValueError(f"{place}: iscrowd is {row['iscrowd']!r:.40}, neither 0 nor 1")
    if size is not None and row.get("segmentation"):
        try:
            check_segmentation(row["segmentation"], *size)
        except ValueError as error:
            raise ValueError(f"{place}: segmentation: {error}") from error


def _mask(row: dict, place: str, findings: Findings) -> Any:
    mask, box = row.get("segmentation"), row.get("bbox")
    if mask:
        count_thin(mask, place, findings)
        return mask
    numbers = isinstance(box, list) and len(box) == 4 and all(type(v) in (int, float) for v in box)
    if not numbers:
        findings.add("annotations with neither mask nor box, left out", place)
        return None
    findings.add(BOXES, place)
    return [rectangle(*box)]


def count_thin(mask: Any, place: str, findings: Findings) -> None:
    """Count polygons that have no area, because they have fewer than three corners."""
    if isinstance(mask, list):
        thin = sum(isinstance(polygon, list) and len(polygon) < _TRIANGLE for polygon in mask)
        findings.add("polygons of fewer than three points, left out", place, thin)


def _attributes(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The attributes of an annotation, which stand by themselves or in its row."""
    own = row.get("attributes")
    return {**row, **own} if isinstance(own, dict) else row


def _track_of(row: Mapping[str, Any]) -> Any:
    attributes = _attributes(row)
    track = next((attributes[key] for key in TRACK_KEYS if attributes.get(key) is not None), None)
    return track if isinstance(track, int | float | str | None) else str(track)


def _text(size: Size | None) -> str:
    return "of no size" if size is None else "×".join(map(str, size))
