"""The protocol of AVTrack: speakers followed, whatever their class.

Gives the numbers of `src/evaluation` of github.com/FudanCVL/AVTrack (commit f0c857f). It writes the masks of
a frame into one picture, and TrackEval scores each video as one of DAVIS: HOTA (mean over 19 alphas), IDF1
and MOTA. Every number of a video is at least 0. The number of a data set is the mean over its videos.

Dimensions: T frames, D predicted and G ground-truth tracks, H×W pixels.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from pycocotools import mask as coco_mask

from avis.evaluation.intersections import frame_intersections
from avis.evaluation.metrics.clear import count_clear
from avis.evaluation.metrics.hota import count_hota, hota_fields
from avis.evaluation.metrics.identity import count_identity
from avis.evaluation.overlap import Detections, VideoOverlap
from avis.formats.masks import FrameMasks
from avis.formats.tracks import GroundTruth, MaskTrack, Video, VideoId

NAME = "avtrack"
FIELDS = ("HOTA", "DetA", "AssA", "IDF1", "MOTA")


@dataclass
class AVTrackEvaluation:
    """The metrics of all videos.

    Attributes:
        truth: what the predictions were compared with.
        score_threshold: predictions that score more count.
        videos: the FIELDS of each video, fractions; no field where the video is not annotated.
    """

    truth: GroundTruth
    score_threshold: float
    videos: dict[VideoId, dict[str, float]] = field(default_factory=dict)

    def count(self, overlap: VideoOverlap) -> dict[str, float]:
        """Score one video, for `videos`; no mask is kept."""
        confident = overlap.above(self.score_threshold)
        return {} if overlap.video.annotated == () else _score(_detections(confident))

    @property
    def counted_videos(self) -> list[VideoId]:
        """The videos that the metrics are of: those that are annotated."""
        return [video_id for video_id in self.truth.videos if self.videos.get(video_id)]

    @property
    def remarks(self) -> list[str]:
        """What a reader of the metrics has to know: what is left out, and why."""
        remarks = []
        if num_left_out := len(self.truth.videos) - len(self.counted_videos):
            remarks.append(f"{num_left_out} videos are left out: they have no masks")
        voids = [
            key for key in self.counted_videos if any(track.is_crowd for track in self.truth.tracks[key])
        ]
        if voids:
            remarks.append(
                f"{len(voids)} videos have a track that is void (grey level 255, or a crowd): it need not be "
                f"found, and what is predicted there is wrong, as in TrackEval; one is {voids[0]!r}"
            )
        return remarks

    def metrics(self, videos: Iterable[VideoId] | None = None) -> dict[str, float]:
        """The FIELDS in percent, means over videos, -1 where there is none.

        Args:
            videos: of these alone; one that is named several times counts as several videos. None: of all.
        """
        times = Counter(list(self.videos) if videos is None else videos)
        counted = [self.videos[key] for key in self.counted_videos for _ in range(times[key])]
        return {
            name: 100 * sum(video[name] for video in counted) / len(counted) if counted else -1.0
            for name in FIELDS
        }


def paint(video: Video, tracks: Sequence[MaskTrack]) -> list[MaskTrack]:
    """The tracks as one picture a frame shows them: a later one hides those before it.

    Returns:
        As many tracks, no two of which overlap.
    """
    counts = [[None if mask is None else mask["counts"] for mask in track.masks] for track in tracks]
    areas = [track.areas.copy() for track in tracks]
    common = frame_intersections(tracks, tracks).reshape(video.length, len(tracks), len(tracks))
    hidden = np.triu(common, 1) > 0  # by which later track each is, (T, D, D)
    for frame, index in np.argwhere(hidden.any(2)).tolist():
        mask = coco_mask.decode(tracks[index].masks[frame])
        for later in np.flatnonzero(hidden[frame, index]):
            mask[coco_mask.decode(tracks[later].masks[frame]) > 0] = 0
        counts[index][frame] = coco_mask.encode(mask)["counts"].decode("ascii") if mask.any() else None
        areas[index][frame] = mask.sum()
    size = (video.height, video.width)
    return [
        replace(track, masks=FrameMasks(size, runs), areas=area, stored=area > 0)
        for track, runs, area in zip(tracks, counts, areas, strict=True)
    ]


def _detections(overlap: VideoOverlap) -> Detections:
    """The visible masks in the annotated frames; the best-scored track hides the others."""
    video = overlap.video
    predicted = paint(video, sorted(overlap.predicted, key=lambda track: track.score))
    true = paint(video, [track for track in overlap.true if not track.is_crowd])
    visible = VideoOverlap(video, predicted, true)
    frames = list(range(video.length) if video.annotated is None else video.annotated)
    return Detections(visible.frame_iou[frames], visible.areas[frames] > 0, visible.true_areas[frames] > 0)


def _score(detections: Detections) -> dict[str, float]:
    hota = hota_fields(count_hota(detections))
    values = {
        **{name: hota[name] for name in ("HOTA", "DetA", "AssA")},
        "IDF1": count_identity(detections).idf1,
        "MOTA": count_clear(detections).mota,
    }
    return {name: max(0.0, values[name]) for name in FIELDS}
