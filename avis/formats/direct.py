"""Annotations of other formats taken as they are, without conversion: COCO, CocoVID, OVIS.

A picture of COCO is a video of one frame. None of these has sound, so their videos are silent. Frames are
looked for in the folders that these data sets have.

Dimensions: T frames of a video.
"""

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, count
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Any

from avis.files import JsonSource
from avis.formats.aviseg import Annotations, check_read, frame_file, parse_annotations, split_folder
from avis.formats.readers.coco import image_roots as image_roots_of_coco
from avis.formats.readers.coco import read_coco
from avis.formats.readers.common import Findings, ReadOptions, SourceVideo, read_categories
from avis.formats.readers.detection import is_by_picture
from avis.formats.readers.youtube_vis import image_roots
from avis.formats.tracks import Video, VideoId
from avis.formats.written_masks import read_coco_categories, read_plain_coco

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AnyAnnotations:
    """Annotations of a split in one of the formats that are read without conversion.

    Attributes:
        annotations: as those of the AVISeg format.
        pictures: where they are not in JPEGImages, the frames of each video by its id, in one of `roots`.
        roots: folders where they may lie.
        is_mute: the data set has no sound by its nature.
        is_unread: each mask is still as the file has it, and unchecked.
    """

    annotations: Annotations
    pictures: dict[VideoId, list[str]] | None = None
    roots: tuple[Path, ...] = ()
    is_mute: bool = False
    is_unread: bool = False
    _found: set[Path] = field(default_factory=set, init=False)

    def frames_of(self, video: Video) -> list[Path] | None:
        """The T frames of a video; None: they are in JPEGImages.

        Raises:
            FileNotFoundError: they are not in any of the folders; the message names these.
        """
        if self.pictures is None:
            return None
        names = self.pictures[video.id]
        root = next((root for root in self._likely_roots() if os.path.isfile(root / names[0])), None)
        if root is None:
            tried = ", ".join(map(str, dict.fromkeys(self.roots)))
            raise FileNotFoundError(
                f"{self.annotations.source}: {names[0]} of video {video.id!r} is not in {tried}"
            )
        self._found.add(root)
        return [root / name for name in names]

    def _likely_roots(self) -> Iterator[Path]:
        """Those first in which frames were found: a data set has most in one folder."""
        return chain(tuple(self._found), self.roots)


def read_any_annotations(source: JsonSource) -> AnyAnnotations:
    """Read a split in the AVISeg format, which YouTube-VIS has as well, or in one of those above.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is malformed; the message names it all.
    """
    name, content = parse_annotations(source)
    if isinstance(source, str | PathLike) and is_by_picture(content):
        return _of_pictures(Path(source), content)
    annotations = check_read(source, name, content)
    if not isinstance(source, str | PathLike):
        return AnyAnnotations(annotations)
    first = annotations.videos[0].file_names[0]
    roots = image_roots(Path(source))
    is_elsewhere = not frame_file(split_folder(source), first).is_file()
    if is_elsewhere and any((root / first).is_file() for root in roots):
        pictures = {video.id: list(video.file_names) for video in annotations.videos}
        return AnyAnnotations(annotations, pictures, roots, is_mute=True)
    return AnyAnnotations(annotations, is_mute=_is_mute(content))


def read_unread_annotations(path: Path) -> AnyAnnotations:
    """The same of a file, but each mask of COCO's pictures is left as it is, a `WrittenMask`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is malformed; the message names it all.
    """
    found = read_plain_coco(path) if path.is_file() else None
    if found is None:
        return read_any_annotations(path)
    numbers = count(1)
    entries = {
        video.id: [
            {"id": next(numbers), "category_id": category_id, "iscrowd": is_crowd, "segmentations": mask}
            for category_id, is_crowd, mask in objects
        ]
        for video, objects in zip(found.videos, found.objects, strict=True)
    }
    annotations = Annotations(str(path), found.categories, found.videos, entries)
    pictures = {video.id: [name] for video, name in zip(found.videos, found.paths, strict=True)}
    return AnyAnnotations(annotations, pictures, image_roots_of_coco(path), is_mute=True, is_unread=True)


def read_any_categories(source: JsonSource) -> dict[int, str]:
    """The name of each category by its id, without a look at the masks of COCO, which takes minutes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is malformed; the message names it all.
    """
    rows = read_coco_categories(Path(source)) if isinstance(source, str | PathLike) else None
    name, content = (str(source), {"images": [], "categories": rows}) if rows else parse_annotations(source)
    if is_by_picture(content):
        return dict(sorted(read_categories(content, name, Findings())[0].items()))
    return check_read(source, name, content).categories


def _is_mute(content: dict[str, Any]) -> bool:
    """Whether a file says that it is YouTube-VIS, or converted from a format without sound."""
    info = content.get("info") if isinstance(content.get("info"), dict) else {}
    return info.get("visual") is True or "youtube" in json.dumps(info).lower()


def _of_pictures(path: Path, content: Any) -> AnyAnnotations:
    findings = Findings()
    source = read_coco(path, content, ReadOptions(), findings)
    ids = {name: category_id for category_id, name in source.categories.items()}
    videos = [_video(video) for video in source.videos]
    entries: dict[VideoId, list[dict[str, Any]]] = {video.id: [] for video in videos}
    numbers = count(1)
    for video, found in zip(source.videos, videos, strict=True):
        for annotated in video.objects((found.height, found.width)):
            entry = {
                "id": next(numbers),
                "video_id": found.id,
                "category_id": ids[annotated.category],
                "iscrowd": int(annotated.is_crowd),
                "segmentations": [annotated.mask_at(index) for index in range(found.length)],
            }
            entries[found.id].append(entry)
    for line in findings.lines():
        logger.warning("%s: %s", path, line)
    annotations = Annotations(str(path), dict(sorted(source.categories.items())), videos, entries)
    pictures = {found.id: list(video.pictures) for found, video in zip(videos, source.videos, strict=True)}
    return AnyAnnotations(annotations, pictures, source.image_roots, is_mute=True)


def _video(video: SourceVideo) -> Video:
    if video.size is None:
        raise ValueError(f"{video.where}: its height and width are missing")
    names = [(PurePosixPath(video.name) / PurePosixPath(name).name).as_posix() for name in video.pictures]
    return Video(video.id, *video.size, names)
