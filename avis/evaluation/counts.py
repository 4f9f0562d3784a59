"""The outcome of an evaluation: counts by video, from which the metrics of any set of videos follow.

Dimensions: D predicted and G ground-truth tracks of a video.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from avis.evaluation.metrics.average_precision import (
    Matches,
    PrecisionRecall,
    RankedMatches,
    match_videos,
    summarize,
)
from avis.evaluation.metrics.fsla import FrameCounts, fsla_fields, pool_frames
from avis.evaluation.metrics.hota import FIELDS as HOTA_FIELDS
from avis.evaluation.metrics.hota import HotaCounts, count_hota, hota_fields, pool_hota
from avis.evaluation.overlap import ComparedTracks, VideoOverlap
from avis.evaluation.protocols.standard import StandardProtocol, UnscoredFramesError
from avis.formats.tracks import GroundTruth, VideoId


@dataclass(frozen=True)
class VideoCounts:
    """What the metrics need of one video.

    Attributes:
        tracks: the tracks without their masks, and their IoU (D, G).
        hota: by category, for the categories with tracks.
        frames: None where the protocol's implementation fails.
        failure: why it fails.
    """

    tracks: ComparedTracks
    hota: dict[int, HotaCounts]
    frames: FrameCounts | None
    failure: str = ""


@dataclass
class Evaluation:
    """Counts of all videos under one protocol.

    Attributes:
        protocol: how the metrics are computed.
        truth: what the predictions were compared with.
        score_threshold: HOTA and FSLA are of the predictions that score more, where the protocol tells them
            from those of AP and AR, which are all.
        videos: counts by video.
    """

    protocol: StandardProtocol
    truth: GroundTruth
    score_threshold: float = -math.inf
    videos: dict[VideoId, VideoCounts] = field(default_factory=dict)

    def count(self, overlap: VideoOverlap) -> VideoCounts:
        """Count one video, for `videos`; no mask is kept."""
        confident = overlap.above(self.score_threshold) if self.protocol.has_score_threshold else overlap
        detections, tracks = self.protocol.detections(confident), confident.tracks
        hota = {}
        for category_id in np.union1d(tracks.categories, tracks.true_categories).tolist():
            rows, columns = tracks.categories == category_id, tracks.true_categories == category_id
            hota[category_id] = count_hota(detections.select(rows, columns))
        try:
            return VideoCounts(overlap.tracks, hota, self.protocol.count_frames(confident))
        except UnscoredFramesError as error:
            return VideoCounts(overlap.tracks, hota, None, str(error))

    @property
    def counted_videos(self) -> list[VideoId]:
        """The videos that the metrics are of, in their order."""
        return self.protocol.order_videos(self.truth.videos)

    @property
    def remarks(self) -> list[str]:
        """What a reader of the metrics has to know: what is left out, and why."""
        in_order = self.counted_videos
        remarks = []
        if num_left_out := len(self.truth.videos) - len(in_order):
            remarks.append(
                f"{num_left_out} videos are left out: of several in one folder only the last counts"
            )
        if failures := [video.failure for key in in_order if (video := self.videos[key]).failure]:
            remarks.append(f"FSLA is undefined ({len(failures)} videos): {failures[0]}")
        return remarks

    @cached_property
    def matches(self) -> dict[int, dict[VideoId, Matches]]:
        """What became of each prediction, by category and video; to be read when all videos are counted."""
        in_order = {key: self.videos[key].tracks for key in self.counted_videos}
        return match_videos(in_order, self.truth.categories, self.protocol.matching)

    @cached_property
    def _ranked(self) -> dict[int, RankedMatches]:
        """The predictions of all videos by category."""
        rules = self.protocol.matching
        return {key: RankedMatches(list(matches.values()), rules) for key, matches in self.matches.items()}

    def curves(self, videos: Iterable[VideoId] | None = None) -> dict[str, PrecisionRecall]:
        """Precision and recall by the categories' names; see `metrics` for the choice of videos."""
        return self._curves(self._times(videos))

    def _curves(self, times: Mapping[VideoId, int]) -> dict[str, PrecisionRecall]:
        return {
            name: self._ranked[key].precision_recall(np.array([times[id] for id in self.matches[key]], int))
            for key, name in self.truth.categories.items()
        }

    def metrics(self, videos: Iterable[VideoId] | None = None) -> dict[str, float]:
        """All metrics.

        Args:
            videos: of these alone, in the order of all; one that is named several times counts as several
                videos. None: of all.

        Returns:
            Percentages, -1 where undefined: AP and AR (see `average_precision.summarize`), the FIELDS of
            `metrics.hota`, FSLA, FSLAn, FSLAs and FSLAm, then AP/<category> and HOTA/<category>.
        """
        times = self._times(videos)
        values = summarize(self._curves(times), self.protocol.matching)
        by_category = {name: values.pop(name) for name in list(values) if name.startswith("AP/")}
        counted = [self.videos[key] for key in self.counted_videos for _ in range(times[key])]
        summary, hota_by_category = self._hota(counted)
        values |= summary | self._fsla(counted) | by_category | hota_by_category
        return {name: -1.0 if np.isnan(value) else 100 * value for name, value in values.items()}

    def _times(self, videos: Iterable[VideoId] | None) -> Counter[VideoId]:
        """How often each video counts."""
        return Counter(list(self.videos) if videos is None else videos)

    def _hota(self, counted: list[VideoCounts]) -> tuple[dict[str, float], dict[str, float]]:
        """The FIELDS averaged over categories, and HOTA by category; fractions, NaN where undefined."""
        pooled = {
            category_id: pool_hota(video.hota[category_id] for video in counted if category_id in video.hota)
            for category_id in self.truth.categories
        }
        fields = {key: hota_fields(pooled[key]) for key in self.protocol.averaged_categories(pooled)}
        summary = {
            name: float(np.mean([values[name] for values in fields.values()])) if fields else np.nan
            for name in HOTA_FIELDS
        }
        names = self.truth.categories
        return summary, {
            f"HOTA/{names[key]}": fields[key]["HOTA"] if key in fields else np.nan for key in names
        }

    def _fsla(self, counted: list[VideoCounts]) -> dict[str, float]:
        """FSLA's fields; if one video could not be counted, all are NaN."""
        frames = [video.frames for video in counted if video.frames is not None]
        return fsla_fields(pool_frames(frames if len(frames) == len(counted) else []))
