"""The protocol of AVISM's released evaluation, with all its peculiarities, to compare with published tables.

Gives the numbers of `avism/data/aviseval` of github.com/YunZhou0321/avis (commit ab052c7), before it rounds
them to two decimals. docs/metrics.md lists what it does otherwise than the standard protocol, and the effect.

Dimensions: T frames, D predicted tracks, G ground-truth tracks, A localisation thresholds, C categories.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from avis.evaluation.average_precision import MatchingRules
from avis.evaluation.fsla import FrameCounts, associate, count_frames
from avis.evaluation.hota import HotaCounts, global_alignment
from avis.evaluation.overlap import Detections, VideoOverlap
from avis.evaluation.protocol import StandardProtocol, UnscoredFramesError
from avis.evaluation.tracks import Video, VideoId

TRACK_MAP = MatchingRules(
    # steps add up to a little more than, say, 0.85, which an IoU of exactly 0.85 does not reach
    iou_thresholds=np.arange(0.5, 0.96, 0.05) - np.finfo(float).eps,
    limits=(None,),
    crowd_is_taken=True,
    # prediction 0 of the run: "taken by 0" reads as "free"
    first_leaves_free=True,
)
# An empty mask is told by its RLE, compared with that of one with so many pixels (720 × 1280).
_PIXELS_OF_KNOWN_EMPTY_MASK = 921_600


class AVISegProtocol(StandardProtocol):
    """What AVISM's released evaluation does otherwise than the standard protocol."""

    name = "aviseg"
    matching = TRACK_MAP

    def order_videos(self, videos: Mapping[VideoId, Video]) -> list[VideoId]:
        """One video for each folder, the last, in the order of the folders' names."""
        by_folder = {video.folder: video_id for video_id, video in videos.items()}
        return [by_folder[folder] for folder in sorted(by_folder)]

    def detections(self, overlap: VideoOverlap) -> Detections:
        """All masks in the files, empty ones and those of crowds included."""
        return Detections(overlap.frame_iou, overlap.stored, overlap.true_stored)

    def count_frames(self, overlap: VideoOverlap) -> FrameCounts:
        """Count the frames of a video in which all that sounds is found.

        Raises:
            UnscoredFramesError: the released evaluation fails, as predictions have null frames.
        """
        detections = self.detections(overlap)
        sources, predictions = _associate(detections)
        quality = np.zeros(len(detections.true))
        for frame in np.flatnonzero(_gate(overlap, detections)):
            match np.flatnonzero(detections.true[frame]).tolist():
                case []:
                    quality[frame] = np.inf
                case [source]:
                    quality[frame] = _single_quality(overlap, frame, source, predictions)
                case _:
                    quality[frame] = _multiple_quality(overlap, frame, sources, predictions)
        return count_frames(quality, detections.true.sum(1))

    def averaged_categories(self, hota: Mapping[int, HotaCounts]) -> Iterable[int]:
        """All categories, those without ground truth and predictions included."""
        return list(hota)


def _gate(overlap: VideoOverlap, detections: Detections) -> np.ndarray:
    """Frames with as many predictions as sources, and of the same categories, bool (T,).

    An empty mask counts among the categories, and if it is not the known one, among the predictions too.
    """
    categories, true_categories = overlap.tracks.categories, overlap.tracks.true_categories
    known = np.union1d(categories, true_categories)
    predicted = detections.predicted @ (categories[:, None] == known)  # (T, C)
    true = detections.true @ (true_categories[:, None] == known)
    num_predicted = (detections.predicted & ~_known_empty(overlap)).sum(1)
    return (predicted == true).all(1) & (num_predicted == detections.true.sum(1))


def _known_empty(overlap: VideoOverlap) -> np.ndarray:
    """Predictions whose RLE is that of the known empty mask, bool (T, D)."""
    is_known = overlap.video.height * overlap.video.width == _PIXELS_OF_KNOWN_EMPTY_MASK
    return overlap.stored & (overlap.areas == 0) & is_known


def _associate(detections: Detections) -> tuple[np.ndarray, np.ndarray]:
    """Pair tracks as numbered among those with a detection, ground truth and prediction; see `associate`."""
    with_detections = detections.select(detections.predicted.any(0), detections.true.any(0))
    return associate(global_alignment(with_detections))


def _single_quality(overlap: VideoOverlap, frame: int, source: int, predictions: np.ndarray) -> float:
    """IoU of the only source with a prediction: rows and columns of the association are swapped.

    Args:
        overlap: of the video.
        frame: its index.
        source: index of the ground-truth track that sounds.
        predictions: prediction of each pair of the association, (P,).
    """
    pairs = np.flatnonzero(predictions == source)
    if not pairs.size:
        return 0.0
    return float(overlap.frame_iou[frame, _nth_prediction(overlap, frame, pairs[0]), source])


def _multiple_quality(
    overlap: VideoOverlap, frame: int, sources: np.ndarray, predictions: np.ndarray
) -> float:
    """The lowest IoU of all pairs of the association; 0 if a pair is of two categories or sounds by half.

    The pairs' numbers, among the tracks with a detection, are taken for numbers among the annotations of the
    video, and among the predictions with a mask in this frame.
    """
    in_frame = [_nth_prediction(overlap, frame, number) for number in predictions]
    silent = ~overlap.true_stored[frame, sources]
    agrees = overlap.tracks.true_categories[sources] == overlap.tracks.categories[in_frame]
    agrees &= ~silent | _known_empty(overlap)[frame, in_frame]
    if not agrees.all():
        return 0.0
    return overlap.frame_iou[frame, in_frame, sources].min(where=~silent, initial=np.inf)


def _nth_prediction(overlap: VideoOverlap, frame: int, number: int) -> int:
    """Index of a prediction that is numbered among those with a mask in a frame."""
    stored = np.flatnonzero(overlap.stored[frame])
    if number >= len(stored):
        raise UnscoredFramesError(
            f"in video {overlap.video.id!r}, frame {frame}, prediction {number} is looked up among the "
            f"{len(stored)} with a mask: predictions with null frames break the released evaluation"
        )
    return int(stored[number])
