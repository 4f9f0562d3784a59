"""AVTrack on disk: speakers to be followed, a test set without classes.

Wang et al., "AVTrack: Audio-Visual Tracking in Human-centric Complex Scenes", ICML 2026:

    <folder>/avtrack_meta.json                                   videos: id, width, height, file_names
    <folder>/Images/<video>/<frame>
    <folder>/Audios/<video>.wav
    <folder>/Instance_Masks_merged/<video>/frame_00000.png       grey level: who; 0: nobody; 255: void

The number of a mask is the index of its frame among the file_names. Instance_Masks, where each person has a
folder, holds the same and is not read.

Dimensions: T frames of a video, H×W pixels.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from avis.files import read_json
from avis.formats.aviseg import Annotations, check_annotations
from avis.formats.masks import FrameMasks
from avis.formats.tracks import GroundTruth, GroundTruthTrack, Video, VideoId, in_order, mean_area

META = "avtrack_meta.json"
IMAGES, SOUNDS, MASKS = "Images", "Audios", "Instance_Masks_merged"
# The only category: AVTrack has no classes.
SPEAKER = {1: "speaker"}
# The grey level that TrackEval's DAVIS data set, by which AVTrack is scored, takes for "not annotated".
VOID = 255

_MASK_NAME = re.compile(r"frame_(\d+)\.png")


def is_avtrack(source: Any) -> bool:
    """Whether a source of annotations is AVTrack's, which is told by the file's name."""
    return isinstance(source, str | PathLike) and Path(source).name == META


def read_avtrack(json_file: str | PathLike) -> Annotations:
    """Read which videos there are; masks are left on disk, and so no video has annotations.

    Attributes of a video are under "attributes", of the video or of its annotations: a list of names, or an
    object whose names count where they are true.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no JSON, or not in AVTrack's format; the message names it all.
    """
    path = Path(json_file)
    if not path.is_file():
        raise FileNotFoundError(
            f"no annotations at {path.absolute()}. datasets/README.md says how AVTrack is to lie on disk"
        )
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("videos"), list):
        raise ValueError(f"{path}: AVTrack's annotations are an object with a list of 'videos'")
    categories = [{"id": id, "name": name} for id, name in SPEAKER.items()]
    checked = check_annotations(str(path), {"videos": content["videos"], "categories": categories})
    attributes = _attributes(content, path)
    videos = [
        replace(
            video,
            attributes=tuple(sorted(attributes.get(video.id, ()))),
            annotated=_annotated_frames(path.parent, video),
        )
        for video in checked.videos
    ]
    return replace(checked, videos=videos)


def load_avtrack(json_file: str | PathLike) -> GroundTruth:
    """Load AVTrack as ground truth; see `read_avtrack`. Masks are read when a video's are asked for."""
    annotations = read_avtrack(json_file)
    videos = in_order(annotations.videos)
    return GroundTruth(
        source=annotations.source,
        videos=videos,
        categories=annotations.categories,
        tracks=MergedMasks(Path(json_file).parent, videos),
        class_agnostic=True,
    )


def read_attributes(path: str | PathLike, truth: GroundTruth) -> dict[VideoId, Video]:
    """Read attributes that the annotations do not have, from a file of pairs.

    Args:
        path: a JSON object with a list of attributes for each video, or a CSV file with the columns "video"
            and "attribute", a row for each pair. A video is called by its id or by the folder of its frames.
        truth: the data set.

    Returns:
        Its videos, with these attributes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is malformed, or names a video that the data set does not have.
    """
    pairs = _read_pairs(Path(path))
    known = {name: key for key, video in truth.videos.items() for name in (video.name, str(key))}
    found: dict[VideoId, set[str]] = {}
    for name, attribute in pairs:
        if name not in known:
            raise ValueError(f"{path}: {truth.source} has no video {name!r}")
        found.setdefault(known[name], set()).add(attribute)
    return {
        key: replace(video, attributes=tuple(sorted(found.get(key, ()))))
        for key, video in truth.videos.items()
    }


class MergedMasks(Mapping[VideoId, list[GroundTruthTrack]]):
    """The ground-truth tracks of every video, one for each grey level; read once, and kept as RLEs.

    The level VOID is a crowd: it need not be found.
    """

    def __init__(self, folder: Path, videos: Mapping[VideoId, Video]) -> None:
        """Keep where the masks of videos are."""
        self._folder, self._videos = folder, videos
        self._read: dict[VideoId, list[GroundTruthTrack]] = {}

    def __getitem__(self, video_id: VideoId) -> list[GroundTruthTrack]:
        """Read the masks of a video.

        Raises:
            KeyError: there is no such video.
            ValueError: a mask is no picture of greys of the video's size.
        """
        if video_id not in self._read:
            self._read[video_id] = self._read_tracks(self._videos[video_id])
        return self._read[video_id]

    def __iter__(self) -> Iterator[VideoId]:
        return iter(self._videos)

    def __len__(self) -> int:
        return len(self._videos)

    def _read_tracks(self, video: Video) -> list[GroundTruthTrack]:
        counts: dict[int, list[str | None]] = {}
        areas: dict[int, np.ndarray] = {}
        for frame, path in sorted(_mask_files(self._folder, video).items()):
            levels = _read_levels(path, video)
            for level in (np.flatnonzero(np.bincount(levels.ravel(order="K"))[1:]) + 1).tolist():
                runs = counts.setdefault(level, [None] * video.length)
                mask = coco_mask.encode((levels == level).view(np.uint8))
                runs[frame] = mask["counts"].decode("ascii")
                areas.setdefault(level, np.zeros(video.length, np.int64))[frame] = coco_mask.area(mask)
        size, category_id = (video.height, video.width), next(iter(SPEAKER))
        return [
            GroundTruthTrack(
                category_id,
                FrameMasks(size, counts[level]),
                areas[level],
                areas[level] > 0,
                mean_area(areas[level].tolist()),
                is_crowd=level == VOID,
                id=level,
            )
            for level in sorted(counts)
        ]


def _annotated_frames(folder: Path, video: Video) -> tuple[int, ...]:
    """The frames of which there is a mask, be it an empty one.

    Raises:
        ValueError: one is beyond the video, or the folder holds none.
    """
    files = _mask_files(folder, video)
    if beyond := [path for frame, path in files.items() if frame >= video.length]:
        raise ValueError(f"{beyond[0]}: the video {video.name!r} has {video.length} frames, numbered from 0")
    place = folder / MASKS / video.name
    if place.is_dir() and not files:
        raise ValueError(f"{place} has no masks frame_00000.png, …: unpack it again, or remove it")
    return tuple(sorted(files))


def _mask_files(folder: Path, video: Video) -> dict[int, Path]:
    """The mask of each frame that has one."""
    place = folder / MASKS / video.name
    matches = ((path, _MASK_NAME.fullmatch(path.name)) for path in place.glob("frame_*.png"))
    return {int(match[1]): path for path, match in matches if match}


def _read_levels(path: Path, video: Video) -> np.ndarray:
    """The grey levels of a mask, uint8 (H, W), column by column as RLEs are."""
    try:
        with Image.open(path) as image:
            mode, levels = image.mode, np.asfortranarray(image)
    except Exception as error:  # damaged bytes can raise anything
        raise ValueError(f"{path} cannot be read as a picture: {error}") from error
    if mode not in ("L", "P"):
        raise ValueError(f"{path} is of the mode {mode}, not a picture of 8-bit greys")
    if levels.shape != (video.height, video.width):
        size = "×".join(map(str, levels.shape))
        raise ValueError(f"{path} is {size}, the video {video.name!r} is {video.height}×{video.width}")
    return levels


def _attributes(content: dict, path: Path) -> dict[VideoId, set[str]]:
    """The attributes of each video that has any."""
    annotations = content.get("annotations") or []
    sources = [(video["id"], video) for video in content["videos"]]
    sources += [(annotation.get("video_id"), annotation) for annotation in annotations]
    found: dict[VideoId, set[str]] = {}
    for video_id, entry in sources:
        if entry.get("attributes") is not None:
            names = _names(entry["attributes"], f"{path}: video {video_id!r}")
            found.setdefault(video_id, set()).update(names)
    return found


def _names(attributes: Any, where: str) -> list[str]:
    """Names of attributes, given as a list or as an object of true and false."""
    names = attributes
    if isinstance(attributes, dict):
        names = [name for name, given in attributes.items() if given]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{where}: attributes are a list of names, not {attributes!r:.80}")
    return names


def _read_pairs(path: Path) -> Iterable[tuple[str, str]]:
    """Video and attribute of each pair in a JSON or CSV file."""
    if path.suffix.lower() != ".csv":
        content = read_json(path)
        if not isinstance(content, dict):
            raise ValueError(f"{path}: attributes are an object with a list for each video")
        return [(key, name) for key, names in content.items() for name in _names(names, f"{path}: {key}")]
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if not {"video", "attribute"} <= set(reader.fieldnames or ()):
            raise ValueError(f"{path}: the columns are {reader.fieldnames}, not video and attribute")
        return [(row["video"], row["attribute"]) for row in reader]


def image_files(folder: Path, video: Video) -> Sequence[Path]:
    """The T frames of a video, in the folder of the data set."""
    return [folder / IMAGES / name for name in video.file_names]


def speech_file(folder: Path, video: Video) -> Path:
    """The sound of a video, in the folder of the data set."""
    return folder / SOUNDS / f"{video.name}.wav"
