"""Annotations in other formats than AVISeg's, told by their keys, so that messages call them by name."""

from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

_WANTED = (
    "wanted is the AVISeg format: 'videos' with 'file_names', and 'annotations' of one object each with "
    "'video_id' and 'segmentations', one mask a frame. tools/convert_dataset.py converts what it knows; "
    'datasets/README.md, section "Your own data", shows an example'
)
# Bytes that tell what a file is.
_HEAD = 4096


def foreign_format(content: Any) -> str | None:
    """Say what a parsed JSON file is if it is one of another known format, and what is wanted."""
    name = next((name for name, matches in _FORMATS.items() if matches(content)), None)
    return None if name is None else f"this is {name}; {_WANTED}"


def foreign_text(source: Any) -> str | None:
    """The same of a file that is no JSON, with its name."""
    if not isinstance(source, str | PathLike):
        return None
    with Path(source).open("rb") as file:
        head = file.read(_HEAD).lstrip(b"\xef\xbb\xbf \t\r\n")
    if not head.startswith(b"<"):
        return None
    is_cvat = b"<annotations" in head
    name = "CVAT's XML" if is_cvat else "a web page" if b"<html" in head.lower() else "XML"
    return f"{source}: this is {name}; {_WANTED}"


def _has(content: Any, *keys: str) -> bool:
    return isinstance(content, dict) and all(key in content for key in keys)


def _list_has(content: Any, *keys: str) -> bool:
    return isinstance(content, list) and bool(content) and _has(content[0], *keys)


def _is_by_picture(content: Any) -> bool:
    """Whether annotations belong to pictures, not to videos."""
    if not isinstance(content, dict) or _list_has(content.get("annotations"), "segmentations"):
        return False
    return "images" in content or _list_has(content.get("annotations"), "image_id")


def _is_via(content: Any) -> bool:
    entries = list(content.values()) if isinstance(content, dict) else []
    return _has(content, "_via_img_metadata") or (bool(entries) and _has(entries[0], "filename", "regions"))


_FORMATS: dict[str, Callable[[Any], bool]] = {
    "a CocoVID file, with annotations per picture ('image_id')": lambda content: (
        _is_by_picture(content) and "videos" in content
    ),
    "a COCO file, with annotations per picture ('images')": _is_by_picture,
    "a VIA project": _is_via,
    "a labelme file": lambda content: _has(content, "shapes", "imagePath"),
    "a Datumaro file": lambda content: _has(content, "items", "categories"),
    "a Label Studio export as JSON-MIN (export it as JSON)": lambda content: _list_has(
        content, "annotation_id", "lead_time"
    ),
    "a Label Studio export": lambda content: _list_has(content, "data", "annotations"),
}
