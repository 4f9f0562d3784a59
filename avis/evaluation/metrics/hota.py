"""HOTA: how well objects are detected, localised and kept apart over time.

Follows Luiten et al., "HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking", IJCV 2021, and
gives the numbers of its reference implementation, TrackEval. A *detection* is the mask of a track in a frame.

All that is counted are sums over detections, so videos are pooled by adding their counts.

Dimensions: T frames, D predicted and G ground-truth tracks of one category, A localisation thresholds
(alpha), P pairs of detections.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from avis.evaluation.overlap import Detections

ALPHAS = np.arange(0.05, 0.99, 0.05)
FIELDS = ("HOTA", "DetA", "AssA", "LocA", "DetRe", "DetPr", "AssRe", "AssPr")

_EPSILON = np.finfo(float).eps
# Where no detection is found nothing is badly localised: LocA is 1 there, as in TrackEval.
_NO_LOCALIZATION = 1e-10
# By how much the best overlap must exceed the second best to be called without an exact assignment.
_CLEAR_MARGIN = 1e-9


@dataclass(frozen=True)
class HotaCounts:
    """What HOTA is computed from; counts of several videos may be added.

    Attributes:
        num_true: detections to be found.
        num_predicted: detections made.
        found: pairs of a true and a predicted detection, (A,).
        localization: sum of the pairs' IoUs, (A,).
        association: sum over the pairs of what share of their two tracks' detections is paired alike, (A,).
        association_recall: the same share of the ground-truth track's detections, (A,).
        association_precision: the same share of the predicted track's detections, (A,).
    """

    num_true: int
    num_predicted: int
    found: np.ndarray
    localization: np.ndarray
    association: np.ndarray
    association_recall: np.ndarray
    association_precision: np.ndarray


def count_hota(detections: Detections) -> HotaCounts:
    """Pair the detections of one category in one video and count what HOTA needs.

    In each frame detections are paired so that the sum of their IoUs, weighted with how well their tracks fit
    as wholes (`global_alignment`), is greatest; one pairing for all thresholds.
    """
    num_true, num_predicted = int(detections.true.sum()), int(detections.predicted.sum())
    if not (num_true and num_predicted):
        return HotaCounts(num_true, num_predicted, *np.zeros((5, len(ALPHAS))))
    frames, rows, columns = _pair(detections.iou * global_alignment(detections), detections)
    iou = detections.iou[frames, rows, columns]
    found = iou[:, None] >= ALPHAS - _EPSILON
    return HotaCounts(
        num_true,
        num_predicted,
        found.sum(0),
        (found * iou[:, None]).sum(0),
        *_association(found, rows, columns, detections),
    )


def pool_hota(counts: Iterable[HotaCounts]) -> HotaCounts:
    """Add the counts of several videos."""
    pooled = HotaCounts(0, 0, *np.zeros((5, len(ALPHAS))))
    fields = vars(pooled)
    all_counts = [pooled, *counts]
    return HotaCounts(**{name: sum(getattr(part, name) for part in all_counts) for name in fields})


def hota_fields(counts: HotaCounts) -> dict[str, float]:
    """The FIELDS of pooled counts, each the mean over the thresholds, between 0 and 1."""
    found = np.maximum(1, counts.found)
    detection = counts.found / np.maximum(1, counts.num_true + counts.num_predicted - counts.found)
    association = counts.association / found
    values = {
        "HOTA": np.sqrt(detection * association),
        "DetA": detection,
        "AssA": association,
        "LocA": np.maximum(_NO_LOCALIZATION, counts.localization)
        / np.maximum(_NO_LOCALIZATION, counts.found),
        "DetRe": counts.found / max(1, counts.num_true),
        "DetPr": counts.found / max(1, counts.num_predicted),
        "AssRe": counts.association_recall / found,
        "AssPr": counts.association_precision / found,
    }
    return {name: float(values[name].mean()) for name in FIELDS}


def global_alignment(detections: Detections) -> np.ndarray:
    """How well each two tracks fit over the whole video, from 0 to 1, (D, G).

    In each frame, the IoU of two detections is divided by all IoUs that either of them has. The sum of these
    shares over the frames takes the place of the intersection in an IoU of the two sets of detections.
    """
    iou = detections.iou
    rivals = iou.sum(1, keepdims=True) + iou.sum(2, keepdims=True) - iou
    shares = np.divide(iou, rivals, out=np.zeros_like(iou), where=rivals > _EPSILON).sum(0)
    lengths = detections.predicted.sum(0)[:, None] + detections.true.sum(0)
    return np.divide(shares, lengths - shares, out=np.zeros_like(shares), where=lengths > 0)


def _pair(scores: np.ndarray, detections: Detections) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pair detections one to one so that in each frame the sum of their scores is greatest.

    Args:
        scores: (T, D, G), not negative; pairs of score 0 are left out.
        detections: where there is something to pair.

    Returns:
        Frame, predicted track and ground-truth track of each pair, int (P,) each.
    """
    by_true, clear_by_true = _clear_winners(scores)
    by_predicted, clear_by_predicted = _clear_winners(scores.transpose(0, 2, 1))
    pairs = np.where(clear_by_true[:, None, None], by_true, by_predicted.transpose(0, 2, 1))
    for frame in np.flatnonzero(~(clear_by_true | clear_by_predicted)):
        rows, columns = np.flatnonzero(detections.predicted[frame]), np.flatnonzero(detections.true[frame])
        true, predicted = linear_sum_assignment(scores[frame][np.ix_(rows, columns)].T, maximize=True)
        pairs[frame] = False
        pairs[frame, rows[predicted], columns[true]] = True
    return np.nonzero(pairs & (scores > 0))


def _clear_winners(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give each column its best row, and tell in which frames that is the only best assignment.

    It is if no two columns want the same row, and none has a second row about as good: no assignment can
    exceed the sum of the columns' maxima.

    Args:
        scores: (T, N, M), not negative.

    Returns:
        The best row of each column that has one, bool (T, N, M); whether the frame is clear, bool (T,).
    """
    best = scores.max(1, keepdims=True)
    winners = (scores >= best * (1 - _CLEAR_MARGIN)) & (scores > 0)
    return winners, (winners.sum(1) <= 1).all(1) & (winners.sum(2) <= 1).all(1)


def _association(
    found: np.ndarray, rows: np.ndarray, columns: np.ndarray, detections: Detections
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums of association, its recall and its precision over the found pairs, (A,) each.

    Args:
        found: whether each pair counts at each threshold, bool (P, A).
        rows: predicted tracks of the pairs, (P,).
        columns: ground-truth tracks of the pairs, (P,).
        detections: of the video.
    """
    num_columns = detections.true.shape[1]
    pairs, pair_of_detection = np.unique(rows * num_columns + columns, return_inverse=True)
    counts = np.zeros((len(pairs), len(ALPHAS)))
    np.add.at(counts, pair_of_detection, found)
    predicted = detections.predicted.sum(0)[pairs // num_columns][:, None]
    true = detections.true.sum(0)[pairs % num_columns][:, None]
    squares = counts**2
    return (
        (squares / (true + predicted - counts)).sum(0),
        (squares / true).sum(0),
        (squares / predicted).sum(0),
    )
