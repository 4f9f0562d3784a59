"""How much the tracks of a video overlap: all that the metrics need to know of its masks.

Dimensions: T frames, D predicted tracks, G ground-truth tracks, P pairs of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.optimize import linear_sum_assignment

from avis.evaluation.intersections import frame_intersections
from avis.formats.tracks import GroundTruthTrack, PredictedTrack, Video

# Tracks that overlap less are not taken for the same object.
MIN_IOU = 0.1


@dataclass(frozen=True)
class ComparedTracks:
    """The tracks of a video without their masks.

    Attributes:
        scores: (D,).
        categories: of the predicted tracks, int (D,).
        mean_areas: of the predicted tracks, (D,).
        true_categories: of the ground truth, int (G,).
        true_mean_areas: of the ground truth, (G,).
        is_crowd: bool (G,).
        iou: over all frames, (D, G).
    """

    scores: np.ndarray
    categories: np.ndarray
    mean_areas: np.ndarray
    true_categories: np.ndarray
    true_mean_areas: np.ndarray
    is_crowd: np.ndarray
    iou: np.ndarray

    @classmethod
    def from_tracks(
        cls, predicted: Sequence[PredictedTrack], true: Sequence[GroundTruthTrack], iou: np.ndarray
    ) -> "ComparedTracks":
        """Keep of D and G tracks what is left without their masks, and their IoU (D, G)."""
        return cls(
            scores=np.array([track.score for track in predicted], float),
            categories=np.array([track.category_id for track in predicted], int),
            mean_areas=np.array([track.mean_area for track in predicted], float),
            true_categories=np.array([track.category_id for track in true], int),
            true_mean_areas=np.array([track.mean_area for track in true], float),
            is_crowd=np.array([track.is_crowd for track in true], bool),
            iou=iou,
        )


@dataclass(frozen=True)
class Detections:
    """The masks that a metric counts as detections, and how they overlap.

    Attributes:
        iou: of masks in the same frame, (T, D, G); 0 where one is no detection.
        predicted: where a predicted track has a detection, bool (T, D).
        true: where a ground-truth track has one, bool (T, G).
    """

    iou: np.ndarray
    predicted: np.ndarray
    true: np.ndarray

    def select(self, rows: np.ndarray, columns: np.ndarray) -> "Detections":
        """The detections of some predicted and some ground-truth tracks, by index or bool mask."""
        return Detections(self.iou[:, rows][:, :, columns], self.predicted[:, rows], self.true[:, columns])


class VideoOverlap:
    """The tracks of one video and their overlaps; each frame's masks are compared once, for all metrics.

    Attributes:
        video: the video, of T frames.
        predicted: D tracks.
        true: G tracks.
        areas: pixels of the predicted masks, int64 (T, D).
        true_areas: pixels of the ground truth's masks, int64 (T, G).
        intersections: pixels that two masks of a frame have in common, int64 (T, D, G).
    """

    def __init__(
        self, video: Video, predicted: Sequence[PredictedTrack], true: Sequence[GroundTruthTrack]
    ) -> None:
        """Compare all tracks in all frames; every track has the length of the video."""
        self.video, self.predicted, self.true = video, predicted, true
        shape = (video.length, len(predicted), len(true))
        self.intersections = frame_intersections(predicted, true).reshape(shape)
        self.areas = self._stack([track.areas for track in predicted])
        self.true_areas = self._stack([track.areas for track in true])

    def above(self, score_threshold: float) -> "VideoOverlap":
        """The overlaps of the predicted tracks that score more."""
        rows = [index for index, track in enumerate(self.predicted) if track.score > score_threshold]
        chosen = object.__new__(VideoOverlap)  # nothing has to be compared again
        chosen.video, chosen.true, chosen.true_areas = self.video, self.true, self.true_areas
        chosen.predicted = [self.predicted[index] for index in rows]
        chosen.areas, chosen.intersections = self.areas[:, rows], self.intersections[:, rows]
        return chosen

    @cached_property
    def frame_iou(self) -> np.ndarray:
        """IoU of each pair of masks of a frame, (T, D, G); 0 for two empty ones."""
        union = self.areas[:, :, None] + self.true_areas[:, None] - self.intersections
        return _ratio(self.intersections, union)

    @cached_property
    def tracks(self) -> ComparedTracks:
        """The tracks with their spatio-temporal IoU: pixels in both over pixels in either, of all frames.

        It is that of the YouTube-VIS evaluation (Yang et al., "Video Instance Segmentation", ICCV 2019).
        """
        intersection = self.intersections.sum(0)
        union = self.areas.sum(0)[:, None] + self.true_areas.sum(0) - intersection
        return ComparedTracks.from_tracks(self.predicted, self.true, _ratio(intersection, union))

    @cached_property
    def stored(self) -> np.ndarray:
        """Where the predictions' file has a mask, be it an empty one, bool (T, D)."""
        return self._stack([track.stored for track in self.predicted]).astype(bool)

    @cached_property
    def true_stored(self) -> np.ndarray:
        """Where the annotations have a mask, be it an empty one, bool (T, G)."""
        return self._stack([track.stored for track in self.true]).astype(bool)

    def _stack(self, per_track: list[np.ndarray]) -> np.ndarray:
        """N arrays (T,) as one (T, N), also for N = 0."""
        return np.stack(per_track, axis=1) if per_track else np.zeros((self.video.length, 0), np.int64)


def associate(alignment: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pair tracks one to one so that the sum of their alignments is greatest.

    Args:
        alignment: (D, G).

    Returns:
        Ground-truth track, in ascending order, and predicted track of each pair, int (P,) each.
    """
    return linear_sum_assignment(alignment.T, maximize=True)


def found_tracks(overlap: VideoOverlap) -> dict[int, int]:
    """Pair the tracks of a video so that the sum of their IoUs is greatest, whatever their categories.

    Returns:
        The index of the ground-truth track of each predicted track that has one; pairs that hardly overlap
        are none.
    """
    iou = overlap.tracks.iou
    pairs = zip(*(indices.tolist() for indices in associate(iou)), strict=True)
    return {predicted: true for true, predicted in pairs if iou[predicted, true] >= MIN_IOU}


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, 0 where there is nothing."""
    return np.divide(part, whole, out=np.zeros(whole.shape), where=whole > 0)
