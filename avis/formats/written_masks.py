"""COCO's pictures taken as they are: masks stay the text of the file until a clip needs them.

The whole of COCO has 860,000 objects. To turn their polygons into run lengths takes minutes at each start. So
the text of each mask is kept. It is parsed and checked when a clip is taken.

Source: Lin et al., "Microsoft COCO", 2014.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import msgspec

from avis.formats.masks import UNREADABLE
from avis.formats.readers.coco import TRACK_KEYS
from avis.formats.readers.common import Findings, name_of_file, read_categories
from avis.formats.tracks import Video

# Texts of what is no mask, and nothing else.
_NOTHING = (b"[]", b"{}", b"null")
# Attributes that say more of an object than its picture does.
_TELLING = {"sounding", *TRACK_KEYS}
_PLAIN_PATH = re.compile(r"[^/\\:.][^/\\:]*(/[^/\\:.][^/\\:]*)*")


class _Picture(msgspec.Struct, gc=False):
    id: int | str
    file_name: str
    height: int
    width: int


class _Object(msgspec.Struct, gc=False):
    """An annotation; what a plain COCO file does not have, `read_coco` understands."""

    image_id: int | str
    category_id: int
    segmentation: msgspec.Raw
    iscrowd: int = 0
    attributes: dict[str, Any] | None = None
    sounding: msgspec.Raw = msgspec.Raw()
    instance_id: msgspec.Raw = msgspec.Raw()
    track_id: msgspec.Raw = msgspec.Raw()


class _File(msgspec.Struct):
    images: list[_Picture]
    annotations: list[_Object]
    categories: msgspec.Raw
    videos: msgspec.Raw = msgspec.Raw()


class _Categories(msgspec.Struct):
    images: msgspec.Raw
    categories: list[dict[str, Any]]


class WrittenMask(Sequence):
    """The one mask of a picture, in the form that its file has; it is parsed each time it is asked for."""

    __slots__ = ("_text",)

    def __init__(self, text: bytes) -> None:
        """Keep the JSON of the mask."""
        self._text = text

    def __getitem__(self, frame: int) -> Any:
        if frame not in (0, -1):
            raise IndexError(f"a picture is one frame, there is no frame {frame}")
        return msgspec.json.decode(self._text)

    def __len__(self) -> int:
        return 1


class PlainCoco(NamedTuple):
    """A COCO file of pictures.

    Attributes:
        categories: the name of each by its id.
        videos: of one frame each, in the order of the file.
        paths: of the picture of each.
        objects: of each, its annotations in the order of the file: category id, crowd, mask.
    """

    categories: dict[int, str]
    videos: list[Video]
    paths: list[str]
    objects: list[list[tuple[int, int, WrittenMask]]]


def read_plain_coco(path: Path) -> PlainCoco | None:
    """Read a COCO file, if each of its pictures is by itself and each object has a mask.

    Returns:
        None where `read_coco` has more to say: of tracks, videos, attributes, boxes and mistakes.
    """
    try:
        content = msgspec.json.decode(path.read_bytes(), type=_File)
        categories = read_categories(
            {"categories": msgspec.json.decode(content.categories)}, str(path), Findings()
        )
    except (*UNREADABLE, ValueError):
        return None
    pictures = {picture.id: picture for picture in content.images}
    names = {name_of_file(picture.file_name) for picture in content.images}
    is_plain = len(pictures) == len(names) == len(content.images) > 0 and categories[0] == categories[1]
    objects = _by_picture(content.annotations, pictures, categories[0])
    if (
        not is_plain
        or objects is None
        or _is_given(content.videos)
        or not all(map(_is_plain, content.images))
    ):
        return None
    videos = [_video(picture) for picture in content.images]
    paths = [picture.file_name for picture in content.images]
    return PlainCoco(dict(sorted(categories[0].items())), videos, paths, objects)


def _is_given(text: msgspec.Raw) -> bool:
    return bool(text) and bytes(text) not in _NOTHING


def _is_plain(picture: _Picture) -> bool:
    """Whether the size and the path are as they should be; `read_coco` tells what is wrong."""
    return picture.height > 0 and picture.width > 0 and bool(_PLAIN_PATH.fullmatch(picture.file_name))


def _by_picture(
    rows: Sequence[_Object], pictures: Mapping[int | str, _Picture], categories: Mapping[int, str]
) -> list[list[tuple[int, int, WrittenMask]]] | None:
    """The objects of each picture; None where a row is not plain."""
    objects: dict[int | str, list] = {key: [] for key in pictures}
    for row in rows:
        given = (row.sounding, row.instance_id, row.track_id)
        text = bytes(row.segmentation)
        is_known = row.image_id in objects and row.category_id in categories and row.iscrowd in (0, 1)
        has_more = any(map(_is_given, given)) or not _TELLING.isdisjoint(row.attributes or ())
        if text in _NOTHING or not is_known or has_more:
            return None
        objects[row.image_id].append((row.category_id, row.iscrowd, WrittenMask(text)))
    return list(objects.values())


def _video(picture: _Picture) -> Video:
    name = PurePosixPath(picture.file_name)
    return Video(picture.id, picture.height, picture.width, [f"{name.with_suffix('')}/{name.name}"])


def read_coco_categories(path: Path) -> list[dict[str, Any]] | None:
    """The categories of a COCO file, without a look at what else is in it; None: it is no such file."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Categories).categories
    except (*UNREADABLE, FileNotFoundError):
        return None
