"""The standard protocol: YouTube-VIS's AP and AR, TrackEval's HOTA, and FSLA as its paper defines it.

For HOTA and FSLA, the detections of a track are its frames with a mask that is not empty. A frame without
mask may be written as null or as an empty RLE. Crowds are left out of both.

Dimensions: T frames, D predicted tracks, G ground-truth tracks.
"""

from collections.abc import Iterable, Mapping

from avis.evaluation.metrics.average_precision import YOUTUBE_VIS, MatchingRules
from avis.evaluation.metrics.fsla import FrameCounts, count_frames, frame_quality
from avis.evaluation.metrics.hota import HotaCounts
from avis.evaluation.overlap import Detections, VideoOverlap
from avis.formats.tracks import Video, VideoId


class UnscoredFramesError(ValueError):
    """The implementation that a protocol reproduces fails on the frames of a video."""


class StandardProtocol:
    """What the metrics leave open, and what implementations of them differ in."""

    name = "standard"
    # Whether HOTA and FSLA leave out predictions with low scores, which AP and AR rank.
    has_score_threshold = True
    matching: MatchingRules = YOUTUBE_VIS

    def order_videos(self, videos: Mapping[VideoId, Video]) -> list[VideoId]:
        """The videos that count, in the order that decides between equal scores."""
        return list(videos)

    def detections(self, overlap: VideoOverlap) -> Detections:
        """The masks of a video that are detections."""
        to_be_found = ~overlap.tracks.is_crowd
        true = (overlap.true_areas > 0) & to_be_found
        return Detections(overlap.frame_iou * to_be_found, overlap.areas > 0, true)

    def count_frames(self, overlap: VideoOverlap) -> FrameCounts:
        """Count the frames of a video in which all that sounds is found."""
        detections, tracks = self.detections(overlap), overlap.tracks
        quality = frame_quality(detections, tracks.categories, tracks.true_categories)
        return count_frames(quality, detections.true.sum(1))

    def averaged_categories(self, hota: Mapping[int, HotaCounts]) -> Iterable[int]:
        """The categories over which HOTA is averaged: those with ground truth, as for AP."""
        return [category_id for category_id, counts in hota.items() if counts.num_true]
