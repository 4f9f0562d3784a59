"""Evaluation of a results file: what it scores."""

import logging
import math
from collections.abc import Mapping, Sequence

from avis.evaluation.counts import Evaluation
from avis.evaluation.overlap import VideoOverlap
from avis.evaluation.protocols import avtrack
from avis.evaluation.protocols.aviseg import AVISegProtocol
from avis.evaluation.protocols.avtrack import AVTrackEvaluation
from avis.evaluation.protocols.standard import StandardProtocol
from avis.evaluation.spreading import over_videos
from avis.files import JsonSource
from avis.formats.ground_truth import load_ground_truth
from avis.formats.results import load_predictions
from avis.formats.tracks import GroundTruth, PredictedTrack, VideoId

logger = logging.getLogger(__name__)

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (StandardProtocol(), AVISegProtocol(), AVISegProtocol(null_is_empty=True))
}
PROTOCOL_NAMES = (*PROTOCOLS, avtrack.NAME)

AnyEvaluation = Evaluation | AVTrackEvaluation


def evaluate_predictions(
    ground_truth: JsonSource,
    predictions: JsonSource,
    protocol: str | None = None,
    min_score: float = -math.inf,
    score_threshold: float = -math.inf,
) -> dict[str, float]:
    """Score predicted tracks by AP, AR, HOTA and FSLA, or by AVTrack's metrics.

    AP and AR rank all predictions. HOTA and FSLA count a prediction whatever its score. So give them the
    threshold at which a model is used, 0.5 for ours (SCORE_THRESHOLD).

    Args:
        ground_truth: path or parsed content of annotations in the AVISeg format; or the path of AVTrack's.
        predictions: path or parsed content of results, a list of tracks; see `load_predictions`.
        protocol: "standard" is the metrics as they are defined. "aviseg" is what AVISM's released evaluation
            computes, with all its peculiarities. "aviseg-dense" is the same with null frames of the
            predictions as empty masks, to compare with published tables (docs/metrics.md). "avtrack" is
            HOTA, IDF1 and MOTA as AVTrack has them. None: the data set's own, see `own_protocol`.
        min_score: leave out predictions that do not score more; AVISM does with 0.3.
        score_threshold: HOTA and FSLA of "standard", and all of "avtrack", leave out predictions that do not
            score more.

    Returns:
        Percentages, -1 where undefined; see `Evaluation.metrics`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: an input is malformed; the message names the file, the entry and the problem. Or there is
            no such protocol.
    """
    truth = load_ground_truth(ground_truth)
    loaded = load_predictions(predictions, truth, min_score)
    return evaluate_tracks(truth, loaded, protocol, score_threshold)


def evaluate_tracks(
    truth: GroundTruth,
    predictions: Mapping[VideoId, Sequence[PredictedTrack]],
    protocol: str | None = None,
    score_threshold: float = -math.inf,
) -> dict[str, float]:
    """Score predicted tracks that are loaded already; see `evaluate_predictions`."""
    protocol = protocol or own_protocol(truth)
    evaluation = evaluate_detailed(truth, predictions, [protocol], score_threshold)[protocol]
    for remark in evaluation.remarks:
        logger.warning("Protocol %s: %s", protocol, remark)
    return evaluation.metrics()


def own_protocol(truth: GroundTruth) -> str:
    """The protocol that a data set's results are published by: "avtrack" of AVTrack, "standard" of others."""
    return avtrack.NAME if truth.class_agnostic else StandardProtocol.name


def evaluate_detailed(
    truth: GroundTruth,
    predictions: Mapping[VideoId, Sequence[PredictedTrack]],
    protocols: Sequence[str] = ("standard",),
    score_threshold: float = -math.inf,
    jobs: int = 1,
) -> dict[str, AnyEvaluation]:
    """Compare predicted tracks with the ground truth, once for several protocols.

    Each video's tracks are asked for once, in the order of `truth.videos`; no mask is kept.

    Args:
        truth: the ground truth.
        predictions: the tracks of each of its videos.
        protocols: among the PROTOCOL_NAMES.
        score_threshold: see `evaluate_predictions`.
        jobs: processes that compare videos at once; the numbers do not depend on it.

    Returns:
        By protocol, what the metrics and a break-down of them need.

    Raises:
        ValueError: there is no such protocol, or a prediction is malformed.
    """
    for name in protocols:
        if name not in PROTOCOL_NAMES:
            raise ValueError(f"there is no protocol {name!r}, only {', '.join(PROTOCOL_NAMES)}")
    evaluations = {name: _begin(name, truth, score_threshold) for name in protocols}

    def count(overlap: VideoOverlap) -> list:
        return [evaluation.count(overlap) for evaluation in evaluations.values()]

    for video_id, counts in over_videos(count, truth, predictions, "matching", jobs):
        for evaluation, counted in zip(evaluations.values(), counts, strict=True):
            evaluation.videos[video_id] = counted
    return evaluations


def _begin(protocol: str, truth: GroundTruth, score_threshold: float) -> AnyEvaluation:
    if protocol == avtrack.NAME:
        return AVTrackEvaluation(truth, score_threshold)
    return Evaluation(PROTOCOLS[protocol], truth, score_threshold)


def with_thresholds(
    metrics: Mapping[str, float], min_score: float = -math.inf, score_threshold: float = -math.inf
) -> dict[str, float]:
    """Metrics, and the scores above which predictions count in them, as files state both.

    Args:
        metrics: of the protocol "standard" or "avtrack".
        min_score: of all metrics.
        score_threshold: of all but AP and AR.
    """
    lowest = max(0.0, min_score)
    confident = max(lowest, score_threshold)
    thresholds = {"AP": lowest, **dict.fromkeys(("HOTA", "FSLA", "IDF1", "MOTA"), confident)}
    stated = {f"{name}_score_threshold": value for name, value in thresholds.items() if name in metrics}
    return {**metrics, **stated}
