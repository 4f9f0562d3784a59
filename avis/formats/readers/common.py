"""What every reader of annotations gives, whatever the format: videos, and objects with a mask at a time.

A *position* is where in a video a mask is asked for: the index of a picture, the number of a frame of a video
file, or a second, as the format counts.

Dimensions: H×W pictures.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from avis.formats.segmentation import compress_segmentation
from avis.structures import RLE

Size = tuple[int, int]

_TRUE, _FALSE = {"true", "yes", "1", "on"}, {"false", "no", "0", "off"}
BOXES = "boxes became masks of their rectangles"


@dataclass(frozen=True)
class SourceObject:
    """An annotated object.

    Attributes:
        category: its name.
        mask_at: the mask at a position, in a form of `avis/formats/segmentation.py`; None where the object is
            silent or not in view.
        positions: which are annotated.
        is_crowd: neither learned nor counted as missed.
    """

    category: str
    mask_at: Callable[[float], Any]
    positions: Sequence[float]
    is_crowd: bool = False


@dataclass(frozen=True)
class SourceVideo:
    """An annotated video.

    Attributes:
        name: in the data set that is made, a relative path.
        where: what messages call it.
        objects: given the size (H, W) of its pictures, the objects.
        size: (H, W) of its annotations; None: they do not say.
        pictures: its frames, paths in the folder of pictures; None: the format does not list them.
        numbers: of each picture, the frame of the video file that it shows; None: their index.
        by_seconds: positions are seconds.
        files: names that its video file may have, without suffix.
        file: its video file, where that is known.
        sound: the file of its sound, where the format says so.
        id: in the annotations.
        uploaded: what the pictures were called before they were uploaded, where that differs.
        named_by_frame: pictures of it that are called frame_<number> are of that frame.
        span: the first and the last position that were annotated; None: all were.
        extra: what else the data set shall say of it.
    """

    name: str
    where: str
    objects: Callable[[Size], Iterable[SourceObject]]
    size: Size | None = None
    pictures: Sequence[str] | None = None
    numbers: Sequence[int] | None = None
    by_seconds: bool = False
    files: tuple[str, ...] = ()
    file: Path | None = None
    sound: Path | None = None
    id: int | str | None = None
    uploaded: Sequence[str] = ()
    named_by_frame: bool = False
    span: tuple[int, int] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SourceSet:
    """The content of annotations.

    Attributes:
        categories: their names by id, in the order of the file.
        videos: in the order of the file.
        image_roots: folders where its pictures may lie, if the user does not say.
    """

    categories: dict[int, str]
    videos: list[SourceVideo]
    image_roots: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Sounding:
    """Which annotated objects sound: what an attribute says, and where there is none, what `default` says."""

    attribute: str = "sounding"
    default: bool = True

    def of(self, attributes: Mapping[str, Any], where: str) -> bool:
        """Whether an object with these attributes sounds.

        Raises:
            ValueError: the attribute is neither true nor false.
        """
        value = attributes.get(self.attribute)
        if value is None or value == "":
            return self.default
        text = str(value).strip().lower()
        if text not in _TRUE | _FALSE:
            raise ValueError(f"{where}: the attribute {self.attribute!r} is {value!r:.40}, not true or false")
        return text in _TRUE


@dataclass(frozen=True)
class ReadOptions:
    """How annotations are to be read.

    Attributes:
        sounding: which objects sound.
        split: of data sets whose table lists several.
        group: what makes a video of COCO's pictures: "images" (each), "folders", or "auto".
    """

    sounding: Sounding = Sounding()
    split: str = "train"
    group: str = "auto"


class Findings:
    """What was odd but could be read, counted by its kind."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, kind: str, where: str, count: int = 1) -> None:
        """Count what was found; of each kind the first place is kept."""
        if count:
            self._counts[kind] += count
            self._first.setdefault(kind, where)

    def lines(self) -> list[str]:
        """A line for each kind."""
        return [f"{count} {kind}; the first: {self._first[kind]}" for kind, count in self._counts.items()]


def safe_path(name: Any, where: str) -> str:
    """A path from annotations, with the separators of POSIX.

    Raises:
        ValueError: it is no path, or leads out of the folder that it is in.
    """
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise ValueError(f"{where} is {name!r:.80}, not the path of a file")
    path = PureWindowsPath(name)  # understands both kinds of separators
    if path.anchor or ".." in path.parts or not path.name:
        raise ValueError(f"{where} is {name!r:.80}, which leaves the folder of the data set")
    return path.as_posix()


def name_of_file(path: str) -> str:
    """The name of a video, given that of its file: its path without suffix."""
    return PurePosixPath(path).with_suffix("").as_posix()


def table(content: Mapping[str, Any], key: str, where: str, keys: Sequence[str] = ()) -> list[dict]:
    """A list of objects in JSON, each with certain keys.

    Raises:
        ValueError: it is missing or not so; the message names the place.
    """
    rows = content.get(key)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{where}: {key!r} is not a list of objects")
    for position, row in enumerate(rows):
        if missing := [needed for needed in keys if needed not in row]:
            raise ValueError(f"{where}: {key}[{position}]: the key {missing[0]!r} is missing")
    return rows


def by_id(rows: Sequence[dict], key: str, where: str) -> dict[Any, dict]:
    """Rows by their id.

    Raises:
        ValueError: an id is of the wrong type, or is there twice.
    """
    found: dict[Any, dict] = {}
    for position, row in enumerate(rows):
        row_id = as_id(row["id"])
        if row_id is None:
            raise ValueError(
                f"{where}: {key}[{position}]: id is {row['id']!r:.40}, not a whole number or text"
            )
        if found.setdefault(row_id, row) is not row:
            raise ValueError(f"{where}: {key}[{position}]: the id {row['id']!r:.40} is there twice")
    return found


def check_key(row: Mapping[str, Any], key: str, known: Iterable[Any], where: str) -> Any:
    """The value of a key that refers to an id.

    Raises:
        ValueError: there is no such id; the message says what was looked for.
    """
    value = as_id(row.get(key))
    if value is None or value not in known:
        raise ValueError(f"{where}: {key} is {row.get(key)!r:.40}, and there is nothing of that id")
    return value


def as_id(value: Any) -> int | str | None:
    """A value as an id, be it a whole number with a point; None: it is none."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int | str) and not isinstance(value, bool) else None


def read_categories(
    content: Mapping[str, Any], where: str, findings: Findings
) -> tuple[dict[int, str], dict[int, str]]:
    """The categories of JSON as COCO has them.

    Returns:
        The names by id, one id for a name, and the names of all ids.

    Raises:
        ValueError: there are none, or they are malformed.
    """
    rows = by_id(table(content, "categories", where, ("id", "name")), "categories", where)
    if not rows:
        raise ValueError(f"{where}: 'categories' is empty")
    kept, names = {}, {}
    for category_id, row in rows.items():
        if not isinstance(row["name"], str) or not isinstance(category_id, int):
            raise ValueError(f"{where}: categories: {row!r:.80} has no id of digits and name of letters")
        names[category_id] = row["name"]
        if row["name"] in kept.values():
            findings.add("categories of a name that another has, taken for one", f"{where}: {row['name']!r}")
        else:
            kept[category_id] = row["name"]
    return kept, names


def image_size(row: Mapping[str, Any], where: str) -> Size | None:
    """The height and width that a picture or video says it has.

    Raises:
        ValueError: they are not positive whole numbers.
    """
    if row.get("height") is None or row.get("width") is None:
        return None
    for key in ("height", "width"):
        if type(row[key]) is not int or row[key] < 1:
            raise ValueError(f"{where}: {key} is {row[key]!r:.40}, not a positive integer")
    return row["height"], row["width"]


def encode(mask: np.ndarray) -> RLE:
    """A mask (H, W) as compressed RLE."""
    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")}


def union(masks: Sequence[Any], size: Size, where: str) -> Any:
    """The union of masks of one object in one frame.

    Raises:
        ValueError: a mask is malformed or of another size.
    """
    if len(masks) == 1:
        return masks[0]
    try:
        rles = [rle for mask in masks if (rle := compress_segmentation(mask, *size))]
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if not rles:
        return None
    merged = coco_mask.merge([{**rle, "counts": rle["counts"].encode()} for rle in rles])
    return {"size": list(size), "counts": merged["counts"].decode("ascii")}


def rectangle(x: float, y: float, width: float, height: float, degrees: float = 0.0) -> list[float]:
    """The polygon of a box with its corner at (x, y), turned clockwise about that corner."""
    turn = np.radians(degrees)
    across, down = (np.cos(turn), np.sin(turn)), (-np.sin(turn), np.cos(turn))
    corners = [(0, 0), (width, 0), (width, height), (0, height)]
    points = [(x + a * across[0] + b * down[0], y + a * across[1] + b * down[1]) for a, b in corners]
    return [float(value) for point in points for value in point]


def ellipse(x: float, y: float, radius_x: float, radius_y: float, degrees: float = 0.0) -> list[float]:
    """The polygon, of 72 corners, of an ellipse about (x, y), turned clockwise."""
    angles, turn = np.linspace(0, 2 * np.pi, 72, endpoint=False), np.radians(degrees)
    across, down = radius_x * np.cos(angles), radius_y * np.sin(angles)
    xs = x + across * np.cos(turn) - down * np.sin(turn)
    ys = y + across * np.sin(turn) + down * np.cos(turn)
    return np.stack([xs, ys], axis=1).ravel().tolist()
