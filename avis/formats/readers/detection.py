"""Which format annotations are in, told by their content, and the reader of each."""

import codecs
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from avis.files import read_json
from avis.formats.avtrack import META
from avis.formats.foreign import foreign_format
from avis.formats.readers.avsbench import (
    AVSS_LABELS,
    AVSS_TABLE,
    MS3_TABLE,
    S4_TABLE,
    read_avss,
    read_ms3,
    read_s4,
)
from avis.formats.readers.avtrack import read_avtrack_source
from avis.formats.readers.coco import read_coco
from avis.formats.readers.common import Findings, ReadOptions, SourceSet
from avis.formats.readers.cvat import read_cvat
from avis.formats.readers.label_studio import read_label_studio
from avis.formats.readers.youtube_vis import read_youtube_vis

_HEAD = 4096  # bytes that tell XML


class Format(NamedTuple):
    """A format of annotations.

    Attributes:
        read: its reader.
        kind: of its file: "json", "xml", "csv".
        matches: whether parsed JSON is in the format; of other kinds, whether the path's name is.
    """

    read: Callable[[Path, Any, ReadOptions, Findings], SourceSet]
    kind: str
    matches: Callable[[Any], bool]


def _rows(content: Any, key: str) -> list:
    return content[key] if isinstance(content, Mapping) and isinstance(content.get(key), list) else []


def _by_video(content: Any) -> bool:
    rows = _rows(content, "videos")
    return bool(rows) and isinstance(rows[0], dict) and "file_names" in rows[0]


def is_by_picture(content: Any) -> bool:
    """Whether parsed JSON is COCO or CocoVID, with annotations by picture."""
    return isinstance(content, Mapping) and "images" in content and "categories" in content


def _of_tasks(content: Any) -> bool:
    is_rows = isinstance(content, list) and bool(content) and isinstance(content[0], dict)
    return is_rows and "data" in content[0]


FORMATS: dict[str, Format] = {
    "avtrack": Format(read_avtrack_source, "json", lambda _: False),  # by its name alone
    "youtube-vis": Format(read_youtube_vis, "json", _by_video),
    "ovis": Format(read_youtube_vis, "json", lambda _: False),  # as YouTube-VIS
    "cocovid": Format(read_coco, "json", lambda c: is_by_picture(c) and bool(_rows(c, "videos"))),
    "coco": Format(read_coco, "json", is_by_picture),
    "label-studio": Format(read_label_studio, "json", _of_tasks),
    "cvat": Format(read_cvat, "xml", lambda _: True),
    "avsbench-s4": Format(read_s4, "csv", lambda name: name == S4_TABLE),
    "avsbench-ms3": Format(read_ms3, "csv", lambda name: name == MS3_TABLE),
    "avss": Format(read_avss, "csv", lambda name: name == AVSS_TABLE),
}
# Files that tell that a folder is a data set.
_MARKS = (META, S4_TABLE, MS3_TABLE, AVSS_TABLE)


def read_source_set(
    path: Path, options: ReadOptions, findings: Findings, name: str | None = None
) -> tuple[str, SourceSet]:
    """Read annotations.

    Args:
        path: a file, or the folder of AVSBench or AVTrack.
        options: how to read them.
        findings: receives what is odd.
        name: of the format; None: the content tells it.

    Returns:
        The name of the format, and what is in the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is empty, in no known format, or malformed; the message names it.
    """
    path = _file_of(path)
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty")
    kind = _kind(path)
    content = read_json(path) if kind == "json" else None
    found = name or _detect(path, kind, content)
    if FORMATS[found].kind != kind:
        raise ValueError(f"{path} is a {kind.upper()} file, and {found} is {FORMATS[found].kind.upper()}")
    return found, FORMATS[found].read(path, content, options, findings)


def _file_of(path: Path) -> Path:
    """The file of annotations that a path means: of a folder, the one that tells what data set it is."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise FileNotFoundError(f"no annotations at {path}")
    marks = [path / mark for mark in _MARKS if (path / mark).is_file()]
    if not marks:
        raise ValueError(f"{path} is a folder without {', '.join(_MARKS)}: give the file of the annotations")
    return marks[0]


def _kind(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        head = head.decode("utf-16", errors="ignore").encode()
    head = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith(b"PK\x03\x04"):
        raise ValueError(f"{path} is a ZIP archive: unpack it, and give the file of the annotations in it")
    if head.startswith(b"<"):
        return "xml"
    return "csv" if path.suffix.lower() == ".csv" else "json"


def _detect(path: Path, kind: str, content: Any) -> str:
    if path.name == META:
        return "avtrack"
    subject = content if kind == "json" else path.name
    for name, known in FORMATS.items():
        if known.kind == kind and known.matches(subject):
            if name == "avss" and not (path.parent / AVSS_LABELS).is_file():
                raise ValueError(f"{path}: {AVSS_LABELS} is missing beside it")
            return name
    told = foreign_format(content) if kind == "json" else None
    shown = json.dumps(sorted(content))[:80] if isinstance(content, Mapping) else type(content).__name__
    what = told.partition(";")[0] if told else f"in no format that is known (it holds {shown})"
    raise ValueError(f"{path}: {what}; --from takes one of {', '.join(FORMATS)}")
