"""Linking the objects in windows of a stream: tracks whose ids never change.

Successive windows share frames. The Hungarian assignment pairs the objects in a window with the tracks so
far, by two similarities. One is the cosine of the queries, as in Huang et al., "MinVIS", NeurIPS 2022. The
other is the IoU of the masks on the frames that both know, as in Hwang et al., "Video Instance Segmentation
using Inter-Frame Communication Transformers", NeurIPS 2021. An object that is like no track begins a new one.

Dimensions: W frames of a window, M tracks, Q queries found in a window, K classes, C channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from pycocotools import mask as coco_mask
from scipy.optimize import linear_sum_assignment
from torch.nn import functional as F

from avis.evaluation.intersections import frame_intersections
from avis.modeling.candidates import FoundQuery
from avis.structures import RLE


@dataclass(frozen=True)
class Linking:
    """How windows are linked.

    Attributes:
        query_weight: share of the queries in the similarity, 0 … 1; the masks have the rest.
        min_similarity: less similar ones are not the same object.
        patience: frames for which a track that is not found again is remembered.
    """

    query_weight: float = 0.5
    min_similarity: float = 0.5
    patience: int = 30

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if not 0 <= self.query_weight <= 1:
            raise ValueError(f"query_weight (QUERY_WEIGHT) is {self.query_weight}; it lies between 0 and 1")
        if self.patience < 0:
            raise ValueError(f"patience (PATIENCE) is {self.patience} frames; it cannot be negative")


class LinkedTrack:
    """What is remembered of an object: as much after an hour as after a minute.

    Attributes:
        id: never changes, and is never given again.
        probabilities: (K,), the mean over the windows, each weighted by the frames in which it has a mask.
        quality: the same mean of the masks' quality.
        query: (C,) of the last window that held the object.
        start: first frame of this window.
        masks: of this window's frames.
    """

    def __init__(self, id: int, start: int, found: FoundQuery) -> None:
        """Begin with a window that starts at frame `start`."""
        self.id = id
        self.probabilities, self.quality, self._frames_seen = found.probabilities, found.quality, 0
        self.add(start, found)

    @property
    def stop(self) -> int:
        """The frame after the last window that held the object."""
        return self.start + len(self.masks)

    @property
    def category_id(self) -> int:
        """The most probable class."""
        return int(self.probabilities.argmax())

    @property
    def score(self) -> float:
        """Of this class, times the quality."""
        return float(self.probabilities.max()) * self.quality

    def add(self, start: int, found: FoundQuery) -> None:
        """Take in what another window says of the object."""
        frames = sum(mask is not None for mask in found.segmentations)
        self._frames_seen += frames
        # Until it has a mask, the last word counts.
        share = frames / self._frames_seen if self._frames_seen else 1.0
        self.probabilities = self.probabilities + share * (found.probabilities - self.probabilities)
        self.quality += share * (found.quality - self.quality)
        self.query, self.start, self.masks = found.query, start, found.segmentations


class Linker:
    """The tracks of a stream so far.

    Attributes:
        tracks: those that are remembered.
    """

    def __init__(self, linking: Linking) -> None:
        """Begin without tracks."""
        self.linking = linking
        self.tracks: list[LinkedTrack] = []
        self._next_id = 1

    def link(self, start: int, found: Sequence[FoundQuery]) -> list[LinkedTrack]:
        """Pair the objects of a window with the tracks, or begin tracks with them.

        Args:
            start: the window's first frame.
            found: its Q objects.

        Returns:
            The track of each object.
        """
        self.tracks = [track for track in self.tracks if start - track.stop <= self.linking.patience]
        pairs = self._pair(start, found)
        return [self._take(start, entry, pairs.get(index)) for index, entry in enumerate(found)]

    def _pair(self, start: int, found: Sequence[FoundQuery]) -> dict[int, LinkedTrack]:
        """The track of each object, by its index, that is like one."""
        if not (self.tracks and found):
            return {}
        similarity = similarities(self.tracks, start, found, self.linking.query_weight)
        pairs = zip(*linear_sum_assignment(similarity, maximize=True), strict=True)
        return {
            index: self.tracks[row]
            for row, index in pairs
            if similarity[row, index] >= self.linking.min_similarity
        }

    def _take(self, start: int, found: FoundQuery, track: LinkedTrack | None) -> LinkedTrack:
        if track is not None:
            track.add(start, found)
            return track
        track = LinkedTrack(self._next_id, start, found)
        self._next_id += 1
        self.tracks.append(track)
        return track


def similarities(
    tracks: Sequence[LinkedTrack], start: int, found: Sequence[FoundQuery], query_weight: float
) -> np.ndarray:
    """How like each of M tracks each of Q objects of a window is, (M, Q), at most 1.

    Args:
        tracks: at least one.
        start: the window's first frame.
        found: at least one.
        query_weight: of the cosine of the queries; the IoU has the rest. Where masks say nothing, because
            neither has one in a shared frame, the cosine alone counts, if it counts at all.
    """
    iou = shared_iou(tracks, start, found)
    if query_weight == 0:
        return np.nan_to_num(iou)
    known, seen = (torch.stack([entry.query for entry in entries]) for entries in (tracks, found))
    cosine = (F.normalize(known, dim=1) @ F.normalize(seen, dim=1).T).double().numpy()
    return np.where(np.isnan(iou), cosine, query_weight * cosine + (1 - query_weight) * iou)


def shared_iou(tracks: Sequence[LinkedTrack], start: int, found: Sequence[FoundQuery]) -> np.ndarray:
    """Spatio-temporal IoU on the frames that both know, (M, Q); NaN where neither has a mask there."""
    length = len(found[0].segmentations)
    known = [_FrameMasks.of(_from_frame(track, start, length)) for track in tracks]
    seen = [_FrameMasks.of(entry.segmentations) for entry in found]
    shared = np.arange(start, start + length)[:, None] < [track.stop for track in tracks]  # (W, M)
    intersection = frame_intersections(known, seen).sum(0)
    areas = np.stack([masks.areas for masks in known], axis=1).sum(0)[:, None]
    seen_areas = shared.T.astype(int) @ np.stack([masks.areas for masks in seen], axis=1)
    union = areas + seen_areas - intersection
    return np.divide(intersection, union, out=np.full(union.shape, np.nan), where=union > 0)


class _FrameMasks(NamedTuple):
    """Masks and their pixels, (W,), as `frame_intersections` takes them."""

    masks: Sequence[RLE | None]
    areas: np.ndarray

    @classmethod
    def of(cls, masks: Sequence[RLE | None]) -> "_FrameMasks":
        return cls(masks, np.array([0 if mask is None else coco_mask.area(mask) for mask in masks], int))


def _from_frame(track: LinkedTrack, start: int, length: int) -> list[RLE | None]:
    """The track's masks of the `length` frames from `start` on, None in those that it does not know."""
    known = track.masks[start - track.start :] if start < track.stop else []
    return [*known, *[None] * (length - len(known))]
