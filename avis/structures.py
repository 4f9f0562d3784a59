"""What inference makes, and what evaluation, drawing and JSON take: tracks of one video, and their classes.

A mask of one frame is a COCO RLE, ``{"size": [h, w], "counts": bytes or str}``, or None where it is empty;
a dense (tracks, T, H, W) array is never built.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

RLE = dict


@dataclass(frozen=True)
class Categories:
    """The K classes of a model or the categories of a data set. A name says which it is, its place does not.

    Attributes:
        names: by class index, no two alike.
        ids: what the data set calls them, by class index.
    """

    names: tuple[str, ...]
    ids: tuple[int, ...]

    @classmethod
    def numbered(cls, number: int) -> Self:
        """Classes of which no more is known than how many there are."""
        return cls(tuple(f"class {index}" for index in range(number)), tuple(range(number)))

    @classmethod
    def from_json(cls, entries: Sequence[Mapping]) -> Self:
        """The classes that `to_json` has described."""
        return cls(tuple(entry["name"] for entry in entries), tuple(entry["id"] for entry in entries))

    def to_json(self) -> list[dict]:
        """The "id" and "name" of each class, JSON-ready."""
        return [{"id": id, "name": name} for id, name in zip(self.ids, self.names, strict=True)]

    def missing_in(self, other: "Categories") -> list[str]:
        """The names that the other does not have."""
        return [name for name in self.names if name not in other.names]

    def indices_in(self, other: "Categories") -> list[int | None]:
        """The other's class index of each name, None of those that it does not have."""
        index_of = {name: index for index, name in enumerate(other.names)}
        return [index_of.get(name) for name in self.names]


@dataclass
class Track:
    """One sounding object over the T frames of a video.

    Attributes:
        score: confidence in [0, 1].
        category_id: contiguous class index, 0 … K-1.
        segmentations: T masks at the video's own size, None where the object is silent or out of view.
    """

    score: float
    category_id: int
    segmentations: list[RLE | None]


@dataclass
class VideoPrediction:
    """All tracks found in one video of `length` frames of `height` × `width` pixels."""

    video_id: int | str
    height: int
    width: int
    length: int
    tracks: list[Track] = field(default_factory=list)

    def above(self, score_threshold: float) -> "VideoPrediction":
        """The same prediction with the tracks alone that score more."""
        return replace(self, tracks=[track for track in self.tracks if track.score > score_threshold])

    def to_results(self, dataset_category_ids: Mapping[int, int]) -> list[dict]:
        """The entries of results.json: one per track, JSON-ready, categories as the data set numbers them.

        Args:
            dataset_category_ids: the data set's category id of each contiguous class index.
        """
        return [
            {
                "video_id": self.video_id,
                "score": track.score,
                "category_id": dataset_category_ids[track.category_id],
                "segmentations": [_to_json(mask) for mask in track.segmentations],
            }
            for track in self.tracks
        ]


def is_sounding(track: Track) -> list[bool]:
    """For each of the T frames, whether the track has a mask there."""
    return [mask is not None for mask in track.segmentations]


def sounding_runs(sounding: Sequence[bool]) -> list[tuple[int, int]]:
    """The maximal runs of true entries as half-open [start, end) index pairs."""
    changes = np.flatnonzero(np.diff([0, *map(int, sounding), 0]))
    return [(int(start), int(end)) for start, end in zip(changes[::2], changes[1::2], strict=True)]


def _to_json(mask: RLE | None) -> RLE | None:
    if mask is None or isinstance(mask["counts"], str):
        return mask
    return {"size": list(mask["size"]), "counts": mask["counts"].decode("ascii")}
