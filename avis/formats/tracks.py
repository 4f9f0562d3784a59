"""What is compared: videos, their ground-truth tracks and the predicted ones.

Dimensions: T frames of a video.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from avis.structures import RLE, Track, VideoPrediction

VideoId = int | str


@dataclass(frozen=True)
class Video:
    """A video of frames of `height` × `width` pixels.

    Attributes:
        file_names: of the T frames, ``<video>/<frame>``.
        scenario: as the annotations have it, which may be anything; None: they have none.
        start: second of its sound at which frame 0 is; None: not said, so 0.
        attributes: what makes it difficult, where the data set says so.
        annotated: the frames that are annotated, be it with nothing; None: all are.
    """

    id: VideoId
    height: int
    width: int
    file_names: Sequence[str]
    scenario: Any = None
    start: float | None = None
    attributes: tuple[str, ...] = ()
    annotated: tuple[int, ...] | None = None

    @property
    def length(self) -> int:
        """T."""
        return len(self.file_names)

    @property
    def name(self) -> str:
        """The folder of its frames below JPEGImages, which also names its sound."""
        return PurePosixPath(self.file_names[0]).parent.as_posix()


@dataclass
class MaskTrack:
    """The masks of one object over a video.

    Attributes:
        category_id: as the data set numbers its categories.
        masks: T compressed RLEs that cover their frames exactly, None where they are empty.
        areas: pixels of each mask, int64 (T,).
        stored: where the file has a mask, be it an empty one, bool (T,); null and [] are none.
        mean_area: of the frames with the object, in pixels; decides what is small, medium and large.
    """

    category_id: int
    masks: Sequence[RLE | None]
    areas: np.ndarray
    stored: np.ndarray
    mean_area: float


@dataclass
class GroundTruthTrack(MaskTrack):
    """The track of an annotation, to be found; one that `is_crowd` may be found or not."""

    is_crowd: bool
    id: int


@dataclass
class PredictedTrack(MaskTrack):
    """A track found, with the confidence in it."""

    score: float


@dataclass
class GroundTruth:
    """A data set to evaluate on.

    Attributes:
        source: what messages call the file.
        videos: by id, in the order of the ids.
        categories: name of each category by its id, in the order of the ids.
        tracks: of each video by its id, in the order of the file.
        class_agnostic: there is one category, for which predictions of all categories are taken.
    """

    source: str
    videos: dict[VideoId, Video]
    categories: dict[int, str]
    tracks: Mapping[VideoId, list[GroundTruthTrack]]
    class_agnostic: bool = False

    def to_prediction(self, video: Video, tracks: Iterable[MaskTrack]) -> VideoPrediction:
        """Tracks of a video, annotated or predicted, as drawing takes them; annotated ones score 1."""
        indices = class_indices(self.categories)
        converted = [
            Track(getattr(track, "score", 1.0), indices[track.category_id], track.masks) for track in tracks
        ]
        return VideoPrediction(video.id, video.height, video.width, video.length, converted)


def in_order(videos: Iterable[Video]) -> dict[VideoId, Video]:
    """Videos by id, in ascending order, numbers before texts."""
    return {
        video.id: video for video in sorted(videos, key=lambda video: (isinstance(video.id, str), video.id))
    }


def class_indices(categories: Iterable[int]) -> dict[int, int]:
    """The contiguous class index 0 … K-1 of each category id, given in the order of the ids."""
    return {category_id: index for index, category_id in enumerate(categories)}


def videos_without_start(videos: Iterable[Video]) -> dict[str, list[Video]]:
    """The videos that share a folder, and so its sound, where one does not say when it starts, by folder."""
    by_folder: dict[str, list[Video]] = {}
    for video in videos:
        by_folder.setdefault(video.name, []).append(video)
    return {
        name: sharing
        for name, sharing in by_folder.items()
        if len(sharing) > 1 and any(video.start is None for video in sharing)
    }


def mean_area(areas: Sequence[float | None]) -> float:
    """Mean over the frames that have an area; 0 if none has."""
    present = [area for area in areas if area]
    return math.fsum(present) / len(present) if present else 0.0
