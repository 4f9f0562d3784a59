"""What is compared: videos, their ground-truth tracks and the predicted ones.

Dimensions: T frames of a video.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avis.structures import RLE

VideoId = int | str


@dataclass(frozen=True)
class Video:
    """A video of `length` frames of `height` × `width` pixels; `folder` holds its frames."""

    id: VideoId
    height: int
    width: int
    length: int
    folder: str


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
        videos: by id, in the order of the ids.
        categories: name of each category by its id, in the order of the ids.
        tracks: of each video by its id, in the order of the file.
    """

    videos: dict[VideoId, Video]
    categories: dict[int, str]
    tracks: dict[VideoId, list[GroundTruthTrack]]
