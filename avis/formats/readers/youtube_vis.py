"""YouTube-VIS 2019 and 2021, OVIS and AVISeg: one annotation is one object with a list of masks, one a frame.

Yang et al., "Video Instance Segmentation", ICCV 2019; Qi et al., "Occluded Video Instance
Segmentation", IJCV 2022.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from avis.formats.aviseg import FRAMES, Annotations, check_annotations
from avis.formats.readers.coco import count_thin
from avis.formats.readers.common import (
    Findings,
    ReadOptions,
    Size,
    SourceObject,
    SourceSet,
    SourceVideo,
    as_id,
    by_id,
    check_key,
    read_categories,
    table,
)
from avis.formats.tracks import Video

_PER_FRAME = ("segmentations", "bboxes", "areas")


def read_youtube_vis(path: Path, content: Any, options: ReadOptions, findings: Findings) -> SourceSet:
    """Read annotations by video.

    Raises:
        ValueError: the content is malformed; the message names the file, and the annotation or video.
    """
    where = str(path)
    kept, names = read_categories(content, where, findings)
    ids = {name: category_id for category_id, name in kept.items()}
    lengths = _lengths(content, where)
    annotations = [
        _tidy(row, lengths, {key: ids[name] for key, name in names.items()}, where, findings)
        for row in table({"annotations": content.get("annotations") or []}, "annotations", where)
    ]
    categories = [{"id": category_id, "name": name} for category_id, name in kept.items()]
    videos = [{**row, "id": as_id(row["id"])} for row in content["videos"]]
    checked = check_annotations(
        where, {"videos": videos, "categories": categories, "annotations": annotations}
    )
    sources = [_video(checked, video, names, options, findings) for video in checked.videos]
    return SourceSet(kept, sources, image_roots(path))


def image_roots(path: Path) -> tuple[Path, ...]:
    """The folders where the frames of annotations may lie: <split>/JPEGImages, or as in OVIS <split>."""
    folder, split = path.parent, path.stem.removeprefix("annotations_").removeprefix("instances_")
    named = [folder / path.stem, folder / split, folder.parent / split]
    return (*(root / FRAMES for root in named), *named, folder / FRAMES, folder)


def _lengths(content: Any, where: str) -> dict[Any, int]:
    rows = by_id(table(content, "videos", where, ("id", "file_names")), "videos", where)
    for key, row in rows.items():
        if not isinstance(row["file_names"], list):
            raise ValueError(f"{where}: video {key!r}: file_names is no list")
    return {key: len(row["file_names"]) for key, row in rows.items()}


def _tidy(
    row: dict, lengths: dict[Any, int], ids: dict[Any, int], where: str, findings: Findings
) -> dict[str, Any]:
    """An annotation with one entry a frame, and with the category that is kept."""
    place = f"{where}: annotation {row.get('id')!r:.40}"
    video_id = check_key(row, "video_id", lengths, place)
    length = lengths[video_id]
    tidy = {**row, "video_id": video_id, "category_id": ids[check_key(row, "category_id", ids, place)]}
    for key in _PER_FRAME:
        values = row.get(key)
        if values == []:
            tidy[key] = [None] * length
        if isinstance(values, list) and len(values) > length:
            if key == "segmentations":
                beyond = sum(bool(value) for value in values[length:])
                findings.add("masks beyond the last frame, left out", place, beyond)
            tidy[key] = values[:length]
    return tidy


def _video(
    checked: Annotations, video: Video, names: dict[int, str], options: ReadOptions, findings: Findings
) -> SourceVideo:
    entries = checked.entries[video.id]

    def objects(_: Size) -> Iterable[SourceObject]:
        for entry in entries:
            yield _object(entry, names, f"{checked.source}: annotation {entry['id']}", options, findings)

    extra = {} if video.scenario is None else {"scenario": video.scenario}
    return SourceVideo(
        video.name,
        f"{checked.source}: video {video.id!r}",
        objects,
        (video.height, video.width),
        pictures=list(video.file_names),
        files=(video.name,),
        id=video.id,
        extra=extra,
    )


def _object(
    entry: dict, names: dict[int, str], where: str, options: ReadOptions, findings: Findings
) -> SourceObject:
    attributes = entry["attributes"] if isinstance(entry.get("attributes"), dict) else {}
    sounding = {**entry, **attributes}.get(options.sounding.attribute)
    masks = {index: mask for index, mask in enumerate(entry["segmentations"]) if mask}
    for index, mask in masks.items():
        count_thin(mask, f"{where}, frame {index}", findings)
    per_frame = sounding if isinstance(sounding, list) else [sounding] * len(entry["segmentations"])
    if len(per_frame) != len(entry["segmentations"]):
        raise ValueError(f"{where}: {options.sounding.attribute!r} is not one value a frame")
    heard = {
        index: mask
        for index, mask in masks.items()
        if options.sounding.of({options.sounding.attribute: per_frame[index]}, where)
    }
    return SourceObject(names[entry["category_id"]], heard.get, list(masks), bool(entry.get("iscrowd")))
