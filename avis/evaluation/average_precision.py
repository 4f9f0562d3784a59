"""Average precision and recall of tracks, exactly as the YouTube-VIS evaluation computes them.

Follows Yang et al., "Video Instance Segmentation", ICCV 2019: the procedure of COCO (Lin et al., "Microsoft
COCO", 2014) with tracks for boxes. One thing is mended: there, an annotation with id 0 is never found.

Dimensions: D predicted and G ground-truth tracks of one category, A area ranges, K IoU thresholds, R recalls.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avis.evaluation.tracks import GroundTruthTrack, PredictedTrack

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
# Best-scored predictions that count, per video and category.
MAX_DETECTIONS = (1, 10, 100)
# Mean area of a track in pixels, both bounds inclusive: all, small, medium, large.
AREA_RANGES = np.array([[0, 1e10], [0, 128**2], [128**2, 256**2], [256**2, 1e10]])
ALL, SMALL, MEDIUM, LARGE = range(len(AREA_RANGES))

_EPSILON = np.spacing(1)


@dataclass
class Matches:
    """What became of the predictions of one category in one video.

    Attributes:
        scores: (D,), best first.
        matched: whether a prediction has found a ground-truth track, bool (A, K, D).
        ignored: whether it counts neither as right nor as wrong, bool (A, K, D).
        num_ground_truth: tracks to be found, int (A,).
    """

    scores: np.ndarray
    matched: np.ndarray
    ignored: np.ndarray
    num_ground_truth: np.ndarray


@dataclass
class PrecisionRecall:
    """The curves of one category; NaN in an area range without ground truth.

    Attributes:
        precision: at each of the RECALLS, with the most detections, (A, K, R).
        recall: reached with each number of detections, over all areas, (len(MAX_DETECTIONS), K).
    """

    precision: np.ndarray
    recall: np.ndarray


def match_tracks(
    predicted: Sequence[PredictedTrack], ground_truth: Sequence[GroundTruthTrack], iou: np.ndarray
) -> Matches:
    """Assign predictions to ground-truth tracks, best score first, for each area range and IoU threshold.

    A prediction takes the free track with the highest IoU that reaches the threshold, of equal ones the last.
    A track that is not to be found (a crowd, or outside the area range) is taken only for want of another,
    and makes the prediction ignored; so does a prediction's own area outside the range if it finds none.
    A crowd can be taken any number of times.

    Args:
        predicted: D tracks of one category in one video.
        ground_truth: G tracks of the same.
        iou: (D, G).
    """
    scores = np.array([track.score for track in predicted])
    order = np.argsort(-scores, kind="stable")[: MAX_DETECTIONS[-1]]
    iou = iou[order]
    crowd = np.array([track.is_crowd for track in ground_truth], bool)
    not_to_be_found = crowd | _outside_areas(ground_truth)
    matched = np.zeros((len(AREA_RANGES), len(IOU_THRESHOLDS), len(order)), bool)
    ignored = np.zeros_like(matched)
    taken = np.zeros((*matched.shape[:2], len(ground_truth)), bool)
    for index in np.flatnonzero((iou >= IOU_THRESHOLDS[0]).any(1)):
        candidates = (iou[index] >= IOU_THRESHOLDS[:, None]) & (~taken | crowd)
        preferred = candidates & ~not_to_be_found[:, None]
        candidates = np.where(preferred.any(-1, keepdims=True), preferred, candidates)
        found = _last_best(candidates, iou[index])
        matched[..., index] = found.any(-1)
        ignored[..., index] = (found & not_to_be_found[:, None]).any(-1)
        taken |= found
    ignored |= ~matched & _outside_areas(predicted)[:, None, order]
    return Matches(scores[order], matched, ignored, (~not_to_be_found).sum(-1))


def precision_recall(matches: Sequence[Matches]) -> PrecisionRecall:
    """Compute the curves of one category from its matches in all videos, in the order of the video ids."""
    precision = np.full((len(AREA_RANGES), len(IOU_THRESHOLDS), len(RECALLS)), np.nan)
    recall = np.full((len(MAX_DETECTIONS), len(IOU_THRESHOLDS)), np.nan)
    num_ground_truth = sum((match.num_ground_truth for match in matches), np.zeros(len(AREA_RANGES), int))
    right, wrong = _rank(matches, MAX_DETECTIONS[-1])
    for area in np.flatnonzero(num_ground_truth):
        precision[area] = _precision_at_recalls(right[area], wrong[area], num_ground_truth[area])
    if num_ground_truth[ALL]:
        for row, limit in enumerate(MAX_DETECTIONS):
            right, _ = _rank(matches, limit)
            recall[row] = right[ALL].sum(-1) / num_ground_truth[ALL]
    return PrecisionRecall(precision, recall)


def summarize(curves: dict[str, PrecisionRecall]) -> dict[str, float]:
    """Average the curves over the categories that have ground truth.

    Args:
        curves: of each category by its name.

    Returns:
        Percentages, -1 where undefined: AP (over the IoU thresholds), AP50, AP75; APs, APm, APl (small,
        medium and large tracks); AR1, AR10, AR100 (by detections per video and category); AP/<category>.
    """
    # AP by category, area and threshold; AR by category, number of detections and threshold
    ap = np.array([curve.precision.mean(-1) for curve in curves.values()])
    ar = np.array([curve.recall for curve in curves.values()])
    metrics = {
        "AP": _percent(ap[:, ALL]),
        "AP50": _percent(ap[:, ALL, np.isclose(IOU_THRESHOLDS, 0.5)]),
        "AP75": _percent(ap[:, ALL, np.isclose(IOU_THRESHOLDS, 0.75)]),
        "APs": _percent(ap[:, SMALL]),
        "APm": _percent(ap[:, MEDIUM]),
        "APl": _percent(ap[:, LARGE]),
    }
    metrics |= {f"AR{limit}": _percent(ar[:, row]) for row, limit in enumerate(MAX_DETECTIONS)}
    return metrics | {f"AP/{name}": _percent(ap[row, ALL]) for row, name in enumerate(curves)}


def _outside_areas(tracks: Sequence[PredictedTrack] | Sequence[GroundTruthTrack]) -> np.ndarray:
    """Whether each track is outside each area range, bool (A, number of tracks)."""
    areas = np.array([track.mean_area for track in tracks])
    return (areas < AREA_RANGES[:, :1]) | (areas > AREA_RANGES[:, 1:])


def _last_best(candidates: np.ndarray, iou: np.ndarray) -> np.ndarray:
    """Mark the candidate with the highest IoU, of equal ones the last; nothing where there is no candidate.

    Args:
        candidates: bool (A, K, G).
        iou: (G,).

    Returns:
        bool (A, K, G).
    """
    best = np.where(candidates, iou, -1)
    last_best = best.shape[-1] - 1 - best[..., ::-1].argmax(-1)
    return candidates & (np.arange(len(iou)) == last_best[..., None])


def _rank(matches: Sequence[Matches], limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Right and wrong predictions over all videos, best score first, with up to `limit` from each video.

    Returns:
        Two arrays, bool (A, K, predictions).
    """
    no_prediction = np.zeros((len(AREA_RANGES), len(IOU_THRESHOLDS), 0), bool)
    scores = np.concatenate([np.zeros(0), *(match.scores[:limit] for match in matches)])
    matched = np.concatenate([no_prediction, *(match.matched[..., :limit] for match in matches)], axis=-1)
    ignored = np.concatenate([no_prediction, *(match.ignored[..., :limit] for match in matches)], axis=-1)
    order = np.argsort(-scores, kind="stable")
    return (matched & ~ignored)[..., order], (~matched & ~ignored)[..., order]


def _precision_at_recalls(right: np.ndarray, wrong: np.ndarray, num_ground_truth: int) -> np.ndarray:
    """The best precision at or beyond each recall, 0 beyond the highest reached, (K, R)."""
    num_right, num_wrong = right.cumsum(-1), wrong.cumsum(-1)
    precision = num_right / (num_right + num_wrong + _EPSILON)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=-1)[:, ::-1]
    envelope = np.pad(envelope, ((0, 0), (0, 1)))
    recall = num_right / num_ground_truth
    reached = [np.searchsorted(row, RECALLS, side="left") for row in recall]
    return np.take_along_axis(envelope, np.array(reached), axis=-1)


def _percent(values: np.ndarray) -> float:
    """The mean of the defined values, in percent; -1 if there is none."""
    defined = values[~np.isnan(values)]
    return float(100 * defined.mean()) if defined.size else -1.0
