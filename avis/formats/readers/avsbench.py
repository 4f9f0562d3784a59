"""AVSBench on disk: single sources (S4), multiple sources (MS3), and the semantic one (AVSS).

Zhou et al., "Audio-Visual Segmentation", ECCV 2022, and "… with Semantics", 2023:

    s4_meta_data.csv     name, category, split
    s4_data/{visual_frames,gt_masks}/<split>/<category>/<video>/<video>_<second>.png      seconds from 1
    s4_data/audio_wav/<split>/<category>/<video>.wav
    ms3_meta_data.csv    video_id, split
    ms3_data/visual_frames/<video>/…_<second>.png, gt_masks/<split>/<video>/…, audio_wav/<split>/<video>.wav
    metadata.csv         uid, label (v1s, v1m or v2), split, …
    label2idx.json       index of each category, 0 the background
    <label>/<uid>/{frames/<second>.jpg, labels_rgb/<second>.png, audio.wav}               seconds from 0

Masks are black and white, in AVSS of PASCAL VOC's colour for each category. S4's training videos and v1s have
a mask of their first second only: the others are not silent but unknown, and are left out.
"""

import csv
import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from avis.files import read_json
from avis.formats.categories import voc_colour
from avis.formats.readers.common import (
    Findings,
    ReadOptions,
    Size,
    SourceObject,
    SourceSet,
    SourceVideo,
    encode,
    safe_path,
)

S4_TABLE, MS3_TABLE, AVSS_TABLE, AVSS_LABELS = (
    "s4_meta_data.csv",
    "ms3_meta_data.csv",
    "metadata.csv",
    "label2idx.json",
)
# MS3 does not say what sounds.
_UNKNOWN = "sounding object"
_PICTURES = (".png", ".jpg", ".jpeg")
# From here on a grey of a binary mask is the object.
_GREY = 128

Rows = list[dict[str, str]]


def read_s4(path: Path, _: Any, options: ReadOptions, findings: Findings) -> SourceSet:
    """Read AVSBench's single sources; the category of a video is that of its object.

    Raises:
        ValueError: the table is malformed; the message names it and the line.
    """
    rows, everything = _rows(path, ("category", "split"), options.split)
    data = path.parent / "s4_data"
    categories = dict(enumerate(sorted({row["category"] for row in everything}), start=1))

    def video(row: dict[str, str], where: str) -> SourceVideo | None:
        category = safe_path(row["category"], f"{where}: category")
        name = safe_path(row.get("name") or next(iter(row.values())), f"{where}: name")
        place = f"{options.split}/{category}"
        return _video(
            f"{category}/{name}", where, path.parent,
            data / "visual_frames" / place / name, data / "gt_masks" / place / name,
            data / "audio_wav" / place / f"{name}.wav", partial(_binary, category=row["category"]), findings,
        )  # fmt: skip

    return SourceSet(categories, _videos(rows, path, video), (path.parent,))


def read_ms3(path: Path, _: Any, options: ReadOptions, findings: Findings) -> SourceSet:
    """Read AVSBench's multiple sources; all that sounds in a video is one object, of one category.

    Raises:
        ValueError: the table is malformed; the message names it and the line.
    """
    rows, _everything = _rows(path, ("split",), options.split)
    data = path.parent / "ms3_data"

    def video(row: dict[str, str], where: str) -> SourceVideo | None:
        name = safe_path(row.get("video_id") or next(iter(row.values())), f"{where}: video_id")
        return _video(
            name, where, path.parent,
            data / "visual_frames" / name, data / "gt_masks" / options.split / name,
            data / "audio_wav" / options.split / f"{name}.wav", partial(_binary, category=_UNKNOWN), findings,
        )  # fmt: skip

    return SourceSet({1: _UNKNOWN}, _videos(rows, path, video), (path.parent,))


def read_avss(path: Path, _: Any, options: ReadOptions, findings: Findings) -> SourceSet:
    """Read AVSBench-semantic; all that is of one category in a video is one object.

    Raises:
        ValueError: the table or the list of labels is malformed; the message names it.
    """
    rows, _everything = _rows(path, ("uid", "label", "split"), options.split)
    labels = _labels(path.parent / AVSS_LABELS)

    def video(row: dict[str, str], where: str) -> SourceVideo | None:
        part, name = (safe_path(row[key], f"{where}: {key}") for key in ("label", "uid"))
        folder = path.parent / part / name
        return _video(
            f"{part}/{name}", where, path.parent,
            folder / "frames", folder / "labels_rgb", folder / "audio.wav",
            partial(_by_colour, labels=labels, findings=findings), findings,
        )  # fmt: skip

    return SourceSet(labels, _videos(rows, path, video), (path.parent,))


def _rows(path: Path, columns: Iterable[str], split: str) -> tuple[list[tuple[int, dict[str, str]]], Rows]:
    """The rows of a split with their lines, and all rows."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is no table: {error}") from error
    if missing := [column for column in columns if column not in (reader.fieldnames or ())]:
        raise ValueError(f"{path}: the column {missing[0]!r} is missing, there are {reader.fieldnames}")
    chosen = [(line, row) for line, row in enumerate(rows, start=2) if row["split"] == split]
    if not chosen:
        splits = sorted({str(row["split"]) for row in rows})
        raise ValueError(f"{path}: no video is of the split {split!r}; there are {splits}: give --split")
    return chosen, rows


def _videos(
    rows: Iterable[tuple[int, dict[str, str]]],
    path: Path,
    make: Callable[[dict[str, str], str], SourceVideo | None],
) -> list[SourceVideo]:
    videos = [make(row, f"{path}: line {line}") for line, row in rows]
    return [video for video in videos if video is not None]


def _video(
    name: str,
    where: str,
    root: Path,
    frames: Path,
    masks: Path,
    sound: Path,
    make: Callable[..., Iterable[SourceObject]],
    findings: Findings,
) -> SourceVideo | None:
    """A video, of the seconds that have a mask; None where the folder of its frames has none."""
    pictures, of_second = _by_second(frames), _by_second(masks)
    annotated = [second for second in pictures if second in of_second]
    if not annotated:
        findings.add("videos without pictures and masks, left out", f"{where}: {frames}, {masks}")
        return None
    findings.add("seconds without a mask, left out", f"{where}: {frames}", len(pictures) - len(annotated))
    files = [of_second[second] for second in annotated]
    return SourceVideo(
        name,
        where,
        lambda size: make(files, size),
        pictures=[pictures[second].relative_to(root).as_posix() for second in annotated],
        files=(Path(name).name,),
        sound=sound,
        extra={"start": annotated[0] - min(pictures)} if annotated[0] > min(pictures) else {},
    )


def _by_second(folder: Path) -> dict[int, Path]:
    """The pictures of a folder by the number that their names end in."""
    found = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        number = re.search(r"(\d+)$", path.stem)
        if number and path.suffix.lower() in _PICTURES:
            found[int(number[1])] = path
    return dict(sorted(found.items()))


def _binary(files: list[Path], size: Size, category: str) -> Iterable[SourceObject]:
    def at(index: float) -> Any:
        values = _read(files[int(index)], size, "RGB").max(axis=2)
        return encode(values >= _GREY)

    return [SourceObject(category, at, range(len(files)))]


def _by_colour(
    files: list[Path], size: Size, labels: dict[int, str], findings: Findings
) -> Iterable[SourceObject]:
    """An object for each category of which there is a pixel."""
    codes = {_code(np.array(voc_colour(index))): index for index in labels}
    masks: dict[int, dict[int, Any]] = {}
    for number, file in enumerate(files):
        pixels = _code(_read(file, size, "RGB"))
        for code in np.unique(pixels).tolist():
            if code in codes:
                masks.setdefault(codes[code], {})[number] = encode(pixels == code)
            elif code:
                findings.add("colours of no category, taken for background", f"{file}: #{code:06x}")
    return [SourceObject(labels[index], found.get, list(found)) for index, found in sorted(masks.items())]


def _read(file: Path, size: Size, mode: str) -> np.ndarray:
    try:
        with Image.open(file) as image:
            values = np.asarray(image.convert(mode))
    except Exception as error:  # damaged bytes can raise anything
        raise ValueError(f"{file} cannot be read as a picture: {error}") from error
    if values.shape[:2] != size:
        raise ValueError(f"{file} is {values.shape[0]}×{values.shape[1]}, its frame is {size[0]}×{size[1]}")
    return values


def _labels(path: Path) -> dict[int, str]:
    """The categories by index, without the background."""
    content = read_json(path)
    if not isinstance(content, dict) or not all(type(index) is int for index in content.values()):
        raise ValueError(f"{path}: it holds no index for each category")
    labels = {index: name for name, index in content.items() if index}
    if len(labels) < len(content) - 1 or not labels or not all(0 < index < 256 for index in labels):
        raise ValueError(f"{path}: the indices are not 0 for the background and 1 … 255, each once")
    return dict(sorted(labels.items()))


def _code(colours: np.ndarray) -> Any:
    """One number for the red, green and blue of colours (…, 3)."""
    wide = colours.astype(np.int64)
    codes = (wide[..., 0] << 16) + (wide[..., 1] << 8) + wide[..., 2]
    return codes if codes.ndim else int(codes)
