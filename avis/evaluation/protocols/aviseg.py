"""The protocol of AVISM's released evaluation, with all its peculiarities, to compare with published tables.

Gives the numbers of `avism/data/aviseval` of github.com/YunZhou0321/avis (commit ab052c7), before it rounds
them to two decimals. docs/metrics.md lists what it does otherwise than the standard protocol, and the effect.

Dimensions: T frames, D predicted tracks, G ground-truth tracks, A localisation thresholds, C categories.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from avis.evaluation.metrics.average_precision import MatchingRules
from avis.evaluation.metrics.fsla import FrameCounts, count_frames
from avis.evaluation.metrics.hota import HotaCounts, global_alignment
from avis.evaluation.overlap import Detections, VideoOverlap, associate
from avis.evaluation.protocols.standard import StandardProtocol, UnscoredFramesError
from avis.formats.tracks import Video, VideoId

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

    matching = TRACK_MAP
    has_score_threshold = False

    def __init__(self, null_is_empty: bool = False) -> None:
        """Choose how null frames of the predictions are read.

        Args:
            null_is_empty: as empty masks, which AVISM's own results have there, rather than as they are.
        """
        self.name = "aviseg-dense" if null_is_empty else "aviseg"
        self._null_is_empty = null_is_empty

    def order_videos(self, videos: Mapping[VideoId, Video]) -> list[VideoId]:
        """One video for each folder, the last, in the order of the folders' names."""
        # The release takes the first part of the path, also where the frames lie deeper.
        by_folder = {video.name.partition("/")[0]: video_id for video_id, video in videos.items()}
        return [by_folder[folder] for folder in sorted(by_folder)]

    def detections(self, overlap: VideoOverlap) -> Detections:
        """All masks in the files, empty ones and those of crowds included."""
        predicted = overlap.stored | self._null_is_empty
        return Detections(overlap.frame_iou, predicted, overlap.true_stored)

    def count_frames(self, overlap: VideoOverlap) -> FrameCounts:
        """Count the frames of a video in which all that sounds is found.

        Raises:
            UnscoredFramesError: the released evaluation fails, as predictions have null frames.
        """
        frames = _Frames(overlap, self.detections(overlap))
        return count_frames(frames.quality(), frames.detections.true.sum(1))

    def averaged_categories(self, hota: Mapping[int, HotaCounts]) -> Iterable[int]:
        """All categories, those without ground truth and predictions included."""
        return list(hota)


class _Frames:
    """The frames of one video, as the released evaluation judges them for FSLA.

    It associates the tracks that have a detection, and numbers them: ground truth in the order of its ids. It
    then mistakes these numbers for others. A ground-truth track's is read as its number among all annotations
    of the video, in the order of the file. A prediction's is read as its number among those with a mask in a
    frame.
    """

    def __init__(self, overlap: VideoOverlap, detections: Detections) -> None:
        self.detections = detections
        self._video = overlap.video
        self._categories, self._true_categories = overlap.tracks.categories, overlap.tracks.true_categories
        is_known = overlap.video.height * overlap.video.width == _PIXELS_OF_KNOWN_EMPTY_MASK
        self._known_empty = detections.predicted & (overlap.areas == 0) & is_known
        with_detections = detections.select(detections.predicted.any(0), self._numbered_sources(overlap))
        self._sources, self._predictions = associate(global_alignment(with_detections))

    def quality(self) -> np.ndarray:
        """The IoU below which each frame is right, (T,); see `fsla.frame_quality`."""
        quality = np.zeros(self._video.length)
        for frame in np.flatnonzero(self._may_be_right()):
            match np.flatnonzero(self.detections.true[frame]).tolist():
                case []:
                    quality[frame] = np.inf
                case [source]:
                    quality[frame] = self._single_quality(frame, source)
                case _:
                    quality[frame] = self._multiple_quality(frame)
        return quality

    def _numbered_sources(self, overlap: VideoOverlap) -> np.ndarray:
        """Indices of the ground-truth tracks with a detection, in the order of their ids."""
        sources = np.flatnonzero(self.detections.true.any(0))
        return sources[np.argsort([overlap.true[source].id for source in sources])]

    def _may_be_right(self) -> np.ndarray:
        """Frames with as many predictions as sources, and of the same categories, bool (T,).

        An empty mask counts among the categories, and if it is not the known one, among the predictions too.
        """
        categories = np.union1d(self._categories, self._true_categories)
        predicted = self.detections.predicted @ (self._categories[:, None] == categories)  # (T, C)
        true = self.detections.true @ (self._true_categories[:, None] == categories)
        num_predicted = (self.detections.predicted & ~self._known_empty).sum(1)
        return (predicted == true).all(1) & (num_predicted == self.detections.true.sum(1))

    def _single_quality(self, frame: int, source: int) -> float:
        """IoU of the only source with its prediction: rows and columns of the association are swapped."""
        pairs = np.flatnonzero(self._predictions == source)
        if not pairs.size:
            return 0.0
        return self.detections.iou[frame, self._nth_prediction(frame, pairs[0]), source]

    def _multiple_quality(self, frame: int) -> float:
        """The lowest IoU of all pairs; 0 if a pair is of two categories, or only its prediction sounds."""
        sources = self._sources
        predictions = [self._nth_prediction(frame, number) for number in self._predictions]
        sounds = self.detections.true[frame, sources]
        agrees = self._true_categories[sources] == self._categories[predictions]
        if not (agrees & (sounds | self._known_empty[frame, predictions])).all():
            return 0.0
        return self.detections.iou[frame, predictions, sources].min(where=sounds, initial=np.inf)

    def _nth_prediction(self, frame: int, number: int) -> int:
        """Index of a prediction by its number among those with a mask in a frame."""
        in_frame = np.flatnonzero(self.detections.predicted[frame])
        if number >= len(in_frame):
            raise UnscoredFramesError(
                f"video {self._video.id!r}, frame {frame}: prediction {number} is looked up among the "
                f"{len(in_frame)} with a mask, where the released evaluation fails; it expects empty masks, "
                "not null (as aviseg-dense reads them)"
            )
        return int(in_frame[number])
