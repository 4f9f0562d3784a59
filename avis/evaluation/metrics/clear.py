"""CLEAR: how many detections are missed, wrong, or change their identity.

Bernardin & Stiefelhagen, "Evaluating Multiple Object Tracking Performance: The CLEAR MOT Metrics", EURASIP
Journal on Image and Video Processing, 2008; the numbers of TrackEval.

Dimensions: T frames, D predicted and G ground-truth tracks.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from avis.evaluation.overlap import Detections

THRESHOLD = 0.5

_EPSILON = np.finfo(float).eps
# More than all IoUs of a frame can add up to: a pair that goes on comes before any sum of overlaps.
_GOES_ON = 1000


@dataclass(frozen=True)
class ClearCounts:
    """What MOTA is computed from.

    Attributes:
        num_true: detections to be found.
        num_predicted: detections made.
        found: pairs of a true and a predicted detection.
        switches: pairs of a true track with another predicted track than in its pair before.
    """

    num_true: int
    num_predicted: int
    found: int
    switches: int

    @property
    def mota(self) -> float:
        """1 less missed, wrong and switched detections over those to be found, at most 1; 0 without any."""
        if not (self.num_true and self.num_predicted):
            return 0.0
        return (2 * self.found - self.num_predicted - self.switches) / self.num_true


def count_clear(detections: Detections) -> ClearCounts:
    """Pair detections frame by frame, with an IoU of at least THRESHOLD.

    Pairs of the last frame with both kinds of detections go on; others are chosen so that the sum of their
    IoUs is greatest.
    """
    num_true = detections.true.shape[1]
    last_pair, last_of_track = np.full(num_true, -1), np.full(num_true, -1)
    found = switches = 0
    for frame in np.flatnonzero(detections.predicted.any(1) & detections.true.any(1)):
        rows, columns = np.flatnonzero(detections.predicted[frame]), np.flatnonzero(detections.true[frame])
        iou = detections.iou[frame][np.ix_(rows, columns)].T
        scores = iou + _GOES_ON * (last_pair[columns][:, None] == rows)
        scores[iou < THRESHOLD - _EPSILON] = 0
        chosen = linear_sum_assignment(scores, maximize=True)
        are_pairs = scores[chosen] > 0
        true, predicted = columns[chosen[0][are_pairs]], rows[chosen[1][are_pairs]]
        before = last_of_track[true]
        found += len(true)
        switches += int(((before >= 0) & (before != predicted)).sum())
        last_pair[:] = -1
        last_pair[true] = last_of_track[true] = predicted
    return ClearCounts(int(detections.true.sum()), int(detections.predicted.sum()), found, switches)
