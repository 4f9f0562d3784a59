"""Everything about an evaluation that a person asks after the first number: where, and why, is it wrong?

Videos are gone through once, and no mask is kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from avis.evaluation.counts import Evaluation, VideoCounts
from avis.evaluation.diagnosis.mistakes import (
    AT_HALF,
    JudgedTracks,
    Mistake,
    MistakeCost,
    judge_tracks,
    mistake_costs,
)
from avis.evaluation.metrics.average_precision import ALL, NOTHING, match_tracks
from avis.evaluation.overlap import ComparedTracks, VideoOverlap
from avis.evaluation.protocols.standard import StandardProtocol
from avis.evaluation.spreading import over_videos
from avis.formats.tracks import GroundTruth, PredictedTrack, VideoId


@dataclass(frozen=True)
class VideoFindings:
    """What a video holds, and how well it is understood.

    Attributes:
        num_sources: the most ground-truth tracks, without crowds, that sound in one frame.
        judged: its tracks, right and wrong.
        quality: of the predictions above the score threshold, as the panoptic quality of Kirillov et al.,
            "Panoptic Segmentation", CVPR 2019. The IoUs of the right ones are summed, and divided by their
            number plus half the number of wrong and missing ones. NaN if there is nothing to find and
            nothing is found.
        found: index of the ground-truth track that each of these predictions has found, by its index, if any.
    """

    num_sources: int
    judged: JudgedTracks
    quality: float
    found: dict[int, int]


@dataclass
class Analysis:
    """An evaluation by the standard protocol, and what was found in each video.

    Attributes:
        evaluation: the counts from which the metrics follow.
        findings: by video.
        score_threshold: predictions that score more count in HOTA, FSLA, the quality of a video and the
            confusion of classes.
    """

    evaluation: Evaluation
    findings: dict[VideoId, VideoFindings]
    score_threshold: float

    @property
    def truth(self) -> GroundTruth:
        """The data set."""
        return self.evaluation.truth

    @cached_property
    def mistakes(self) -> dict[Mistake, MistakeCost]:
        """How many mistakes of each kind there are in all videos, and what they cost."""
        judged = JudgedTracks.pool(findings.judged for findings in self.findings.values())
        return mistake_costs(judged, self.truth.categories)

    @cached_property
    def confusion(self) -> np.ndarray:
        """How many tracks of each class are taken for each, int (K + 1, K + 1).

        Rows are true classes, the last one of false positives; columns predicted ones, the last one of missed
        tracks.
        """
        indices = {category_id: index for index, category_id in enumerate(self.truth.categories)}
        confusion = np.zeros((len(indices) + 1, len(indices) + 1), int)
        for counts in self.evaluation.videos.values():
            for true, predicted in _confused_pairs(counts.tracks, self.score_threshold):
                confusion[indices.get(true, -1), indices.get(predicted, -1)] += 1
        return confusion


def analyze(
    truth: GroundTruth,
    predictions: Mapping[VideoId, Sequence[PredictedTrack]],
    score_threshold: float = 0.5,
    jobs: int = 1,
) -> Analysis:
    """Compare predicted tracks with the ground truth.

    Args:
        truth: the data set.
        predictions: the tracks of each of its videos, asked for once and in the order of `truth.videos`.
        score_threshold: see `Analysis`.
        jobs: processes that compare videos at once; the findings do not depend on it.
    """
    evaluation, findings = Evaluation(StandardProtocol(), truth, score_threshold), {}

    def look_at(overlap: VideoOverlap) -> tuple[VideoCounts, VideoFindings]:
        return evaluation.count(overlap), _find(overlap, score_threshold)

    for video_id, found in over_videos(look_at, truth, predictions, "analysing", jobs):
        evaluation.videos[video_id], findings[video_id] = found
    return Analysis(evaluation, findings, score_threshold)


def _find(overlap: VideoOverlap, score_threshold: float) -> VideoFindings:
    tracks = overlap.tracks
    sounding = (overlap.true_areas > 0) & ~tracks.is_crowd
    found, num_wrong = {}, 0
    for category_id in np.unique(tracks.categories).tolist():
        matches = match_tracks(tracks, category_id, AT_HALF)
        chosen = (matches.scores > score_threshold) & ~matches.ignored[ALL, 0]
        targets = matches.found[ALL, 0, chosen]
        pairs = zip(matches.predicted[chosen].tolist(), targets.tolist(), strict=True)
        found |= {predicted: true for predicted, true in pairs if true != NOTHING}
        num_wrong += int((targets == NOTHING).sum())
    num_missing = int((~tracks.is_crowd).sum()) - len(found)
    weight = len(found) + (num_wrong + num_missing) / 2
    iou = sum(float(tracks.iou[pair]) for pair in found.items())
    return VideoFindings(
        num_sources=int(sounding.sum(1).max(initial=0)),
        judged=judge_tracks(overlap),
        quality=iou / weight if weight else np.nan,
        found=found,
    )


def _confused_pairs(tracks: ComparedTracks, score_threshold: float) -> list[tuple[int | None, int | None]]:
    """True and predicted category of each track, None where it is missed or false.

    Predictions above the threshold find tracks of any category, the best-scored first, at an IoU of 0.5.
    """
    chosen = np.flatnonzero(tracks.scores > score_threshold)
    anything = replace(
        tracks,
        scores=tracks.scores[chosen],
        categories=np.zeros(len(chosen), int),
        mean_areas=tracks.mean_areas[chosen],
        true_categories=np.zeros_like(tracks.true_categories),
        iou=tracks.iou[chosen],
    )
    matches = match_tracks(anything, 0, AT_HALF)
    counts = ~matches.ignored[ALL, 0]
    found = matches.found[ALL, 0, counts]
    predicted = tracks.categories[chosen[matches.predicted[counts]]].tolist()
    true = [None if index == NOTHING else int(tracks.true_categories[index]) for index in found]
    missed = np.setdiff1d(np.flatnonzero(~tracks.is_crowd), found)
    return [
        *zip(true, predicted, strict=True),
        *((int(tracks.true_categories[index]), None) for index in missed),
    ]
